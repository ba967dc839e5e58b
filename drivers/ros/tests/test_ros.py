"""The cell as ROS 2 sees it, read by what is not ours: Zenoh's Python, its serialization of attachments, `rosbags`, `xxhash`."""

import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import time

import oracle
import pytest
import xxhash
import zenoh
from zenoh.ext import Int64, z_deserialize, z_serialize

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
TACTUS = os.environ.get("TACTUS", str(CHECKOUT / "target/debug/tactus"))
DOMAIN = 5
SOON = 20.0
GID = list(b"a client's gid..")
HOLD = "std_srvs/srv/Trigger"


def test_the_golden_values_are_what_the_oracles_say():
    assert json.loads((HERE / "goldens.json").read_text()) == oracle.goldens()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def dds(name):
    package, kind, last = name.split("/")
    return f"{package}::{kind}::dds_::{last}_"


def until(what, done):
    end = time.monotonic() + SOON
    while not (found := done()):
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)
    return found


class Graph:
    """A node of ROS 2 made of Zenoh's Python."""

    def __init__(self, endpoint):
        self.types, _ = oracle.typestore()
        self.hashes = oracle.goldens()["hashes"]
        config = zenoh.Config()
        config.insert_json5("mode", '"peer"')
        config.insert_json5("connect/endpoints", json.dumps([endpoint]))
        config.insert_json5("listen/endpoints", "[]")
        config.insert_json5("scouting/multicast/enabled", "false")
        self.session = zenoh.open(config)
        self.came = {}
        self.kept = []

    def key(self, name, kind):
        return f"{DOMAIN}/{name}/{dds(kind)}/{self.hashes[kind]}"

    def listen(self, topic, kind):
        rows = self.came.setdefault(topic, [])
        heard = lambda sample: rows.append((bytes(sample.payload), sample.attachment))
        self.kept.append(self.session.declare_subscriber(self.key(topic, kind), heard))

    def tokens(self):
        replies = self.session.liveliness().get(f"@ros2_lv/{DOMAIN}/**", timeout=1.0)
        return {str(reply.ok.key_expr) for reply in replies if reply.ok}

    def newest(self, topic, kind):
        """The message, after all that a reader of rmw_zenoh's would check."""
        payload, attachment = until(f"`{topic}` speaks", lambda: self.came[topic] and self.came[topic][-1])
        sequence, at, gid = z_deserialize(tuple[Int64, Int64, bytes], attachment)
        assert int(sequence) >= 1 and abs(int(at) / 1e9 - time.time()) < 60
        name = "%" + topic.replace("/", "%")
        [token] = [t for t in self.tokens() if t.split("/")[5] == "MP" and t.split("/")[9] == name]
        assert xxhash.xxh3_128_intdigest(token.encode()).to_bytes(16, "little") == bytes(gid)
        assert token.split("/")[10:12] == [dds(kind), self.hashes[kind]]
        message = self.types.deserialize_cdr(payload, kind)
        assert bytes(self.types.serialize_cdr(message, kind, little_endian=True)) == payload
        return message


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ros")
    text = (CHECKOUT / "launch/cells/demo.toml").read_text()
    text = text.replace("../../models/demo/bundle", str(CHECKOUT / "models/demo/bundle"))
    text = text.replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
    file = folder / "cell.toml"
    file.write_text(text)
    at, ros, router = (f"tcp/127.0.0.1:{free_port()}" for _ in range(3))
    log = open(folder / "log", "w")
    start = lambda *args: subprocess.Popen([TACTUS, *map(str, args)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    run = start("run", file, "--listen", at)
    # Until the cell is up the bridge has nothing to show.
    for _ in range(20):
        bridge = start("ros", "--cell", file, "--connect", at, "--ros-router", router, "--ros-listen", ros, "--domain-id", DOMAIN)
        time.sleep(4.0)
        if bridge.poll() is None:
            break
    graph = Graph(ros)
    until("the bridge is in the graph", graph.tokens)
    yield graph
    graph.session.close()
    for process in (bridge, run):
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    print((folder / "log").read_text()[-4000:])


def test_joints_and_mode_are_read_by_rosbags(cell):
    cell.listen("tactus/joint_states", "sensor_msgs/msg/JointState")
    cell.listen("tactus/mode", "std_msgs/msg/String")
    joints = cell.newest("tactus/joint_states", "sensor_msgs/msg/JointState")
    assert len(joints.name) == 7 and joints.name[-1] == "gripper"
    assert len(joints.position) == 7 and len(joints.velocity) == 7
    assert abs(joints.header.stamp.sec - time.time()) < 60
    mode = cell.newest("tactus/mode", "std_msgs/msg/String")
    assert mode.data.split(":")[0] in ("boot", "ready", "hold")


def test_pictures_are_read_by_rosbags(cell):
    cell.listen("tactus/camera/wrist/image_raw/compressed", "sensor_msgs/msg/CompressedImage")
    cell.listen("tactus/camera/wrist/camera_info", "sensor_msgs/msg/CameraInfo")
    picture = cell.newest("tactus/camera/wrist/image_raw/compressed", "sensor_msgs/msg/CompressedImage")
    assert picture.format == "jpeg" and bytes(picture.data[:2]) == b"\xff\xd8"
    info = cell.newest("tactus/camera/wrist/camera_info", "sensor_msgs/msg/CameraInfo")
    assert info.width > 0 and info.height > 0


def test_the_arm_can_be_held_as_a_client_of_ros_2_would(cell):
    attachment = z_serialize((Int64(1), Int64(time.time_ns()), bytes(GID)))
    replies = cell.session.get(
        cell.key("tactus/hold", HOLD), payload=b"\x00\x01\x00\x00\x00", attachment=attachment, timeout=10.0
    )
    [answer] = [reply.ok for reply in replies if reply.ok]
    sequence, _, gid = z_deserialize(tuple[Int64, Int64, bytes], answer.attachment)
    assert int(sequence) == 1 and bytes(gid) == bytes(GID)
    payload = bytes(answer.payload)
    assert payload[:4] == b"\x00\x01\x00\x00" and payload[4] == 1
    [length] = struct.unpack_from("<I", payload, 8)
    assert len(payload) == 12 + length and payload[-1] == 0
