"""openpi-client as it is on PyPI against `tactus engine --openpi`, and a server as openpi's own behind a cell.

`TACTUS` is the program; the checkout's demo bundle is the policy. Run by `./tests/run`.
"""

import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import websockets.sync.client
from openpi_client import image_tools, msgpack_numpy
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
TACTUS = os.environ.get("TACTUS", str(ROOT / "target/debug/tactus"))
BUNDLE = ROOT / "models/demo/bundle"
MAPS = HERE.parent / "maps"


class Served:
    """`tactus engine --openpi` on a free port."""

    def __init__(self, *args: str) -> None:
        command = [TACTUS, "--log", "warn", "engine", "--bundle", str(BUNDLE), "--openpi", "0", *args]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.port = int(re.fullmatch(r"ws://127\.0\.0\.1:(\d+)\n", line)[1])

    def client(self) -> WebsocketClientPolicy:
        return WebsocketClientPolicy("127.0.0.1", self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        assert self.process.wait(10) == 0


@pytest.fixture(scope="module")
def served():
    with Served() as served:
        yield served


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (224, 224, 3), dtype=np.uint8)


def observation(**changed) -> dict:
    whole = {
        "observation/image/scene": picture(0),
        "observation/image/wrist": picture(1),
        "observation/state": np.array([0.0, -0.1, 1.8, 0.0, 1.4, 0.0, 1.0]),
        "prompt": "pick up the red cube",
    }
    whole.update(changed)
    return {key: value for key, value in whole.items() if value is not None}


def test_a_client_gets_metadata_and_chunks_with_timing(served):
    client = served.client()
    said = client.get_server_metadata()["tactus"]
    assert said["policy"] == "tactus-demo" and said["horizon"] == 16 and said["period_s"] == 0.05
    assert said["actions"]["columns"][-1] == "gripper"
    first = client.infer(observation())
    assert first["actions"].shape == (16, 7) and first["actions"].dtype == np.float64
    assert np.isfinite(first["actions"]).all()
    # Joints do not jump: the actions are absolute, and begin where the arm is.
    assert np.abs(first["actions"][0, :6] - observation()["observation/state"][:6]).max() < 0.3
    assert first["policy_timing"]["infer_ms"] > 0
    assert first["server_timing"]["infer_ms"] >= first["policy_timing"]["infer_ms"]
    assert "prev_total_ms" not in first["server_timing"]
    second = client.infer(observation())
    assert second["server_timing"]["prev_total_ms"] > second["policy_timing"]["infer_ms"] / 10


def test_nested_keys_and_planes_are_the_same_observation(served):
    nested = {
        "images": {
            "scene": np.ascontiguousarray(picture(0).transpose(2, 0, 1)),
            "wrist": np.ascontiguousarray(picture(1).transpose(2, 0, 1)),
        },
        "state": observation()["observation/state"].astype(np.float32),
        "prompt": "pick up the red cube",
        "not looked at": np.zeros((3, 4), dtype=np.float16),
    }
    with Served() as one, Served() as other:
        a = one.client().infer(observation())["actions"]
        b = other.client().infer(nested)["actions"]
    # The same seed, since both are the first of a fresh server; float32 is the only difference.
    assert np.abs(a - b).max() < 1e-4


def test_openpis_own_broker_plays_a_chunk_action_by_action(served):
    broker = ActionChunkBroker(served.client(), action_horizon=16)
    steps = [broker.infer(observation())["actions"] for _ in range(3)]
    assert all(step.shape == (7,) for step in steps)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"observation/image/wrist": None}, "key `observation/image/wrist` or `images.wrist`: expected it to be there"),
        ({"observation/image/scene": picture(0)[:200]}, "got uint8 [200, 224, 3]"),
        ({"observation/image/scene": picture(0) / 255.0}, "got float64 [224, 224, 3]"),
        ({"observation/state": np.zeros(8)}, "key `observation/state` or `state`: expected 7 numbers, got float64 [8]"),
        ({"observation/state": np.full(7, np.nan)}, "expected finite numbers, got NaN at index 0"),
        ({"observation/state": np.zeros(7, dtype=">f8")}, "got dtype \">f8\" [7]"),
        ({"prompt": None}, "key `prompt`: expected it to be there"),
        ({"prompt": 7}, "key `prompt`: expected text, got a number"),
    ],
)
def test_what_is_wrong_is_raised_by_the_client_and_the_next_is_answered(served, changed, says):
    client = served.client()
    with pytest.raises(RuntimeError) as raised:
        client.infer(observation(**changed))
    assert says in str(raised.value)
    assert client.infer(observation())["actions"].shape == (16, 7)


def test_what_is_no_message_does_no_harm(served):
    client = served.client()
    url = f"ws://127.0.0.1:{served.port}"
    good = msgpack_numpy.packb(observation())
    bad = [
        b"",
        b"\xc1",
        good[: len(good) // 2],
        good + b"\x00",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000,
        msgpack_numpy.packb([0] * 100_000),
        msgpack_numpy.packb("words"),
    ]
    with websockets.sync.client.connect(url, compression=None, max_size=None) as connection:
        connection.recv()
        for message in bad:
            connection.send(message)
            assert connection.recv().startswith("observation")
        connection.send("text")
        assert "binary" in connection.recv()
    # A message far above what pictures can be: said, and closed.
    with websockets.sync.client.connect(url, compression=None, max_size=None) as connection:
        connection.recv()
        connection.send(bytes(20_000_000))
        assert "observation" in connection.recv()
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            connection.recv()
    # A page in a browser says where it comes from.
    with pytest.raises(websockets.exceptions.InvalidStatus):
        websockets.sync.client.connect(url, origin="http://evil.example")
    # Half a message, then nothing.
    half = socket.create_connection(("127.0.0.1", served.port))
    half.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n")
    other = socket.create_connection(("127.0.0.1", served.port))
    other.sendall(struct.pack("!BB", 0x82, 0xFF) * 40)
    assert client.infer(observation())["actions"].shape == (16, 7)
    half.close(), other.close()
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/healthz", timeout=5) as answer:
        assert answer.read() == b"OK\n"


@pytest.mark.parametrize("name", ["droid", "aloha", "libero"])
def test_a_client_of_another_robot_works_unchanged(name):
    planes = lambda seed: np.ascontiguousarray(picture(seed).transpose(2, 0, 1))
    joints = np.array([0.0, -0.1, 1.8, 0.0, 1.4, 0.0])
    clients = {
        "droid": {
            "observation/exterior_image_1_left": image_tools.resize_with_pad(picture(0), 224, 224),
            "observation/wrist_image_left": picture(1),
            "observation/joint_position": joints,
            "observation/gripper_position": np.zeros(1),
            "prompt": "pick up the red cube",
        },
        "aloha": {
            "state": np.concatenate([joints, [1.0]]),
            "images": {"cam_high": planes(0), "cam_left_wrist": planes(1), "cam_low": planes(2)},
            "prompt": "pick up the red cube",
        },
        "libero": {
            "observation/image": picture(0),
            "observation/wrist_image": picture(1),
            "observation/state": np.concatenate([joints, [0.04, -0.04]]),
            "prompt": "pick up the red cube",
        },
    }
    with Served("--openpi-map", str(MAPS / f"{name}.toml")) as served:
        client = served.client()
        actions = client.infer(clients[name])["actions"]
        assert actions.shape == (16, 7) and np.isfinite(actions).all()
        if name == "droid":
            # Velocities, and 1 is a closed gripper.
            assert np.abs(actions[:, :6]).max() < 5
        if name == "aloha":
            assert client.get_server_metadata()["reset_pose"] == [0, -0.13, 1.83, 0, 1.44, 0]
        with pytest.raises(RuntimeError, match="key"):
            client.infer(observation())


def remote_cell(folder: pathlib.Path, port: int, extra: str = "") -> pathlib.Path:
    cell = (ROOT / "launch/cells/demo.toml").read_text()
    bundle = re.search(r"^bundle = .*$", cell, re.M)[0]
    cell = cell.replace(bundle, f'policy = "openpi://127.0.0.1:{port}"')
    # The round trip to Python.
    cell = cell.replace("context = 4\n", "context = 12\n").replace("backbone = 8\n", "backbone = 12\n")
    cell += f"\n[openpi]\nhorizon = 16\nperiod_ms = 50\nfirst_action_offset_ms = 50\n{extra}"
    file = folder / "cell.toml"
    file.write_text(cell)
    return file


def test_a_server_as_openpis_own_drives_the_simulated_arm(tmp_path):
    server = subprocess.Popen(
        [sys.executable, "-B", str(HERE / "reference_server.py"), "16", "7"], stdout=subprocess.PIPE, text=True
    )
    try:
        file = remote_cell(tmp_path, int(server.stdout.readline()))
        out = tmp_path / "out.json"

        def demo(instruction: str) -> dict:
            command = [TACTUS, "demo", "--cell", str(file), "--headless", "--episodes", "1", "--json", str(out)]
            subprocess.run([*command, "--instruction", instruction], check=False, timeout=180)
            return json.loads(out.read_text())["rows"][0]

        moved = demo("move")
        assert moved["chunks"] > 20, moved
        for instruction in ["nan", "short", "fail", "slow"]:
            faulty = demo(instruction)
            assert faulty["chunks"] == 0, (instruction, faulty)
    finally:
        server.kill()
