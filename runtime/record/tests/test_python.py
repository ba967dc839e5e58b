"""A recording of a running cell, read by the MCAP and protobuf libraries for Python, which know nothing of Tactus.

Needs the runtime's program: the environment variable TACTUS, or the checkout's build. Without one the test is skipped.
"""

import collections
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def tactus() -> Path:
    """The runtime's program."""
    program = Path(os.environ.get("TACTUS", REPOSITORY / "target/debug/tactus"))
    if not program.is_file():
        pytest.skip(f"{program} is not built")
    return program


def end(process: subprocess.Popen) -> int:
    """Ends a process in an orderly way; its exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=20)


def recorded(tactus: Path, folder: Path) -> Path:
    """Some seconds of the demo cell."""
    text = (REPOSITORY / "launch/cells/demo.toml").read_text()
    cell = folder / "cell.toml"
    cell.write_text(text.replace("../../models/demo/bundle", str(REPOSITORY / "models/demo/bundle")))
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"tcp/127.0.0.1:{server.getsockname()[1]}"
    file = folder / "all.mcap"
    run = subprocess.Popen([tactus, "run", cell, "--listen", endpoint])
    try:
        time.sleep(3)
        words = ["record", "--cell", cell, "--connect", endpoint, "--to", file]
        record = subprocess.Popen([tactus, *words], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while time.monotonic() < until and not (file.is_file() and file.stat().st_size > 2_000_000):
            time.sleep(0.1)
        assert end(record) == 0
    finally:
        end(run)
    return file


def test_every_message_decodes_by_the_schemas_in_the_file(tactus: Path, tmp_path: Path) -> None:
    with recorded(tactus, tmp_path).open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        counts: collections.Counter[str] = collections.Counter()
        last = 0
        for schema, channel, message, decoded in reader.iter_decoded_messages(log_time_order=True):
            counts[channel.topic.removeprefix("tactus/demo/")] += 1
            assert decoded.DESCRIPTOR.full_name == schema.name
            assert message.log_time >= last
            last = message.log_time
            if schema.name == "foxglove.CompressedImage":
                assert decoded.format == "jpeg" and decoded.data[:2] == b"\xff\xd8"
                assert decoded.timestamp.seconds * 10**9 + decoded.timestamp.nanos == message.log_time
                assert decoded.frame_id == channel.topic.split("/")[3]
            if schema.name == "tactus.v1.JointState":
                assert len(decoded.q) == 6
        for topic in ["camera/scene/image", "camera/wrist/image", "device/sim/state", "arm/arm/mode", "arm/arm/info"]:
            assert counts[topic] > 0, counts
        assert sum(counts.values()) == reader.get_summary().statistics.message_count
        metadata = {record.name: record.metadata for record in reader.iter_metadata()}
        assert metadata["tactus"]["cell"] == "demo"
        assert metadata["tactus.counts"]["refused"] == "0"
