"""Golden values of ROS 2 over rmw_zenoh, by programs that are not ours: `rosbags` (CDR, RIHS01), `xxhash` (gids).

    python oracle.py            prints goldens.json
    pytest                      compares it with the committed one (test_oracle.py)
"""

import json

import numpy as np
import xxhash
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_typestore

MESSAGES = [
    "std_msgs/msg/String",
    "sensor_msgs/msg/JointState",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/CameraInfo",
    "trajectory_msgs/msg/JointTrajectory",
    "std_msgs/msg/Float64MultiArray",
]
TOKENS = [
    "@ros2_lv/0/a1b2/0/3/MP/%/%mocap/natnet/%mocap%rigid_bodies%rover/geometry_msgs::msg::dds_::PoseStamped_/"
    "RIHS01_10f3786d7d40fd2b54367835614bff85d4ad3b5dab62bf8bca0cc232d73b4cd8/2::,5:,:,:,,",
    "",
    "@ros2_lv/0/a1b2/0/0/NN/%/%/talker",
]


def typestore():
    """Jazzy's types, and the services that are needed, which `rosbags` does not bring."""
    ts = get_typestore(Stores.ROS2_JAZZY)

    def base(name):
        return (Nodetype.BASE, (name, 0))

    # `char` of a .msg file is a uint8 of the description that is hashed.
    info = ts.fielddefs["service_msgs/msg/ServiceEventInfo"][1]
    ts.fielddefs["service_msgs/msg/ServiceEventInfo"] = (
        [],
        [
            (name, (Nodetype.ARRAY, (base("uint8"), 16))) if name == "client_gid" else (name, desc)
            for name, desc in info
        ],
    )
    return ts, base


def service_hash(ts, base, name, request, response):
    """RIHS01 of a service: of question, answer and event together, as rosidl describes it."""
    part = {suffix: f"{name}_{suffix}" for suffix in ("Request", "Response", "Event")}
    ts.fielddefs[part["Request"]] = ([], [(n, base(t)) for n, t in request])
    ts.fielddefs[part["Response"]] = ([], [(n, base(t)) for n, t in response])
    one = lambda of: (Nodetype.SEQUENCE, ((Nodetype.NAME, of), 1))
    ts.fielddefs[part["Event"]] = (
        [],
        [
            ("info", (Nodetype.NAME, "service_msgs/msg/ServiceEventInfo")),
            ("request", one(part["Request"])),
            ("response", one(part["Response"])),
        ],
    )
    ts.fielddefs[name] = (
        [],
        [
            ("request_message", (Nodetype.NAME, part["Request"])),
            ("response_message", (Nodetype.NAME, part["Response"])),
            ("event_message", (Nodetype.NAME, part["Event"])),
        ],
    )
    return ts.hash_rihs01(name)


def examples(ts):
    """Messages; the Rust tests build the same."""
    t = lambda name: ts.types[name]
    f64 = lambda *values: np.array(values, dtype=np.float64)
    time, duration = t("builtin_interfaces/msg/Time"), t("builtin_interfaces/msg/Duration")
    header = t("std_msgs/msg/Header")
    point = t("trajectory_msgs/msg/JointTrajectoryPoint")
    array, layout, dim = (
        t("std_msgs/msg/Float64MultiArray"),
        t("std_msgs/msg/MultiArrayLayout"),
        t("std_msgs/msg/MultiArrayDimension"),
    )
    stamp = header(time(sec=1, nanosec=2), "base")
    return {
        "text": t("std_msgs/msg/String")("hold: wrist"),
        "text_empty": t("std_msgs/msg/String")(""),
        "joints": t("sensor_msgs/msg/JointState")(stamp, ["a", "bb"], f64(1, 2), f64(), f64()),
        "joints_full": t("sensor_msgs/msg/JointState")(
            header(time(sec=1700000000, nanosec=999999999), "tool0"),
            ["shoulder_pan_joint", "elbow"],
            f64(-1.5, 0.25),
            f64(0.125, -3),
            f64(1e-9, 1e300),
        ),
        "picture": t("sensor_msgs/msg/CompressedImage")(
            stamp, "jpeg", np.array([0xFF, 0xD8, 1, 2, 3], dtype=np.uint8)
        ),
        "camera": t("sensor_msgs/msg/CameraInfo")(
            stamp,
            480,
            640,
            "plumb_bob",
            f64(0.1, -0.2, 0, 0, 0.05),
            f64(600, 0, 320, 0, 601, 240, 0, 0, 1),
            f64(1, 0, 0, 0, 1, 0, 0, 0, 1),
            f64(600, 0, 320, 0, 0, 601, 240, 0, 0, 0, 1, 0),
            0,
            0,
            t("sensor_msgs/msg/RegionOfInterest")(0, 0, 0, 0, False),
        ),
        "trajectory": t("trajectory_msgs/msg/JointTrajectory")(
            header(time(sec=0, nanosec=0), ""),
            ["a", "bb"],
            [
                point(f64(0.5, 1), f64(), f64(), f64(), duration(sec=0, nanosec=20000000)),
                point(f64(0.75, 1), f64(0, 0), f64(), f64(), duration(sec=1, nanosec=5)),
            ],
        ),
        "array": array(layout([], 0), f64(0.5, -0.5)),
        "array_described": array(layout([dim("joints", 2, 2)], 0), f64(0.5, -0.5)),
    }


def goldens():
    """What goldens.json holds."""
    ts, base = typestore()
    outcome = [("success", "bool"), ("message", "string")]
    hashes = {name: ts.hash_rihs01(name) for name in MESSAGES}
    # A service whose hash rmw_zenoh's own design page prints: the way to these hashes is right.
    hashes["example_interfaces/srv/AddTwoInts"] = service_hash(
        ts, base, "example_interfaces/srv/AddTwoInts", [("a", "int64"), ("b", "int64")], [("sum", "int64")]
    )
    hashes["std_srvs/srv/Trigger"] = service_hash(ts, base, "std_srvs/srv/Trigger", [], outcome)
    hashes["std_srvs/srv/SetBool"] = service_hash(ts, base, "std_srvs/srv/SetBool", [("data", "bool")], outcome)
    cdr = {
        name: bytes(ts.serialize_cdr(message, message.__msgtype__, little_endian=True)).hex()
        for name, message in examples(ts).items()
    }
    gids = {token: xxhash.xxh3_128_intdigest(token.encode()).to_bytes(16, "little").hex() for token in TOKENS}
    return {"hashes": hashes, "cdr": cdr, "gids": gids}


if __name__ == "__main__":
    print(json.dumps(goldens(), indent=1))
