"""A dataset made of recordings, opened by LeRobot's own library and held against the recording as `mcap` reads it.

Needs the runtime's program (see `test_python.py`), `ffmpeg`, and `lerobot`; without one of them the test is skipped.
"""

import bisect
import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("lerobot")
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[3]
CAMERAS = ["scene", "wrist"]
SOURCES = {1: 0, 2: 1, 3: 2, 4: 3, 5: 4}


@pytest.fixture(scope="module")
def tactus() -> Path:
    program = Path(os.environ.get("TACTUS", REPOSITORY / "target/debug/tactus"))
    if not program.is_file() or shutil.which("ffmpeg") is None:
        pytest.skip(f"{program} or ffmpeg is not there")
    return program


def run(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)


def recorded(tactus: Path, file: Path, seed: int, episodes: int) -> Path:
    run(tactus, "demo", "--headless", "--lockstep", "--episodes", episodes, "--seed", seed, "--record", file)
    return file


class Recording:
    """What a recording says, by `mcap` and the schemas in the file."""

    def __init__(self, file: Path) -> None:
        self.episodes: list[tuple[int, int, str, bool]] = []
        self.frames: dict[str, list[tuple[int, bytes]]] = {camera: [] for camera in CAMERAS}
        self.applied: list[tuple[int, object]] = []
        begun: tuple[int, str] = (0, "")
        with file.open("rb") as source:
            reader = make_reader(source, decoder_factories=[DecoderFactory()])
            for _, channel, message, decoded in reader.iter_decoded_messages(log_time_order=False):
                topic = channel.topic.removeprefix("tactus/demo/")
                if topic == "episode" and decoded.HasField("started"):
                    begun = (message.publish_time, decoded.started.instruction)
                elif topic == "episode":
                    self.episodes.append((begun[0], message.publish_time, begun[1], decoded.stopped.success))
                elif topic.startswith("camera/") and topic.endswith("/image"):
                    self.frames[topic.split("/")[1]].append((message.log_time, decoded.data))
                elif topic == "arm/arm/applied":
                    self.applied += [(applied.at_nanos, applied) for applied in decoded.applied]


def rgb(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), dtype=np.float64) / 255


def check(dataset: LeRobotDataset, recordings: list[Recording]) -> None:
    row = 0
    for recording in recordings:
        times = [at for at, _ in recording.applied]
        for number, (begin, end, task, success) in enumerate(recording.episodes):
            frames = {c: [(at, jpeg) for at, jpeg in recording.frames[c] if begin <= at <= end] for c in CAMERAS}
            for k, (at, _) in enumerate(frames["scene"]):
                first = bisect.bisect_left(times, at)
                item = dataset[row]
                command = recording.applied[first][1]
                expected = np.array([*command.q, command.opening], dtype=np.float32)
                assert np.array_equal(item["action"].numpy(), expected)
                assert item["task"] == task
                assert bool(item["success"]) == success
                assert int(item["source"]) == SOURCES[command.setpoint.source]
                assert not bool(item["intervention"])
                assert int(item["frame_index"]) == k
                true = (at - frames["scene"][0][0]) / 1e9
                assert abs(float(item["captured_at"]) - true) < 1e-6
                if k % 10 == 0:
                    for camera in CAMERAS:
                        seen = item[f"observation.images.{camera}"].numpy().transpose(1, 2, 0)
                        assert np.abs(seen - rgb(frames[camera][k][1])).mean() < 0.02
                row += 1
            assert number < len(recording.episodes)
    assert row == len(dataset)


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_task_text_frames_and_actions_are_those_of_the_recordings(tactus: Path, tmp_path: Path, codec: str) -> None:
    files = [recorded(tactus, tmp_path / "a.mcap", 7001, 2), recorded(tactus, tmp_path / "b.mcap", 7011, 1)]
    folder = tmp_path / "set"
    export = [tactus, "recording", "export", "--lerobot", folder, "--codec", codec]
    assert "2 episodes" in run(*export, files[0]).stdout
    # Another recording is added, and what is there is not made again.
    said = run(*export, *files).stdout
    assert "3 episodes" in said and "2 of the episodes were there before" in said
    check(LeRobotDataset("tactus/test", root=folder), [Recording(file) for file in files])


def test_what_was_interrupted_goes_on(tactus: Path, tmp_path: Path) -> None:
    file = recorded(tactus, tmp_path / "a.mcap", 7001, 2)
    folder, whole = tmp_path / "set", tmp_path / "whole"
    run(tactus, "recording", "export", "--lerobot", whole, file)
    run(tactus, "recording", "export", "--lerobot", folder, file)
    # As after kill -9 in the middle of the second episode: its line in the journal is half written.
    journal = folder / "tactus-export.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    shutil.rmtree(folder / "meta")
    said = run(tactus, "recording", "export", "--lerobot", folder, file).stdout
    assert "2 episodes" in said and "1 of the episodes were there before" in said
    for name in ["data/chunk-000/file-001.parquet", "meta/info.json", "meta/stats.json", "meta/tasks.parquet"]:
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
