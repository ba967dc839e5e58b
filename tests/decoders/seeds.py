"""Makes the corpora: small files of the right kind for each decoder. Needs `mcap` from PyPI.

    python seeds.py RECORDING.mcap...      recordings of the demo: of each of their kinds of message the smallest one

Decides nothing: what a fuzzer finds beyond these is written beside them by its own name.
"""

import json
import struct
import sys
from pathlib import Path

from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

ROOT = Path(__file__).resolve().parents[2]
CORPORA = Path(__file__).resolve().parent / "corpora"
# The order of `wire` in src/messages.rs, by the protobuf message.
KINDS = """TickBatch EpisodeEvent ModeReport ModeOrder LeasedOrder ModeOrderReply EngineStatus AppliedBatch EvalReport EvalAnswer
EvalReply EvalPicture CompressedImage ClockedFrame CameraInfo CameraStatus SimWorld SimReset SimResetReply InferenceRequest
ChunkReply OperatorSetpoint Reasoning Telemetry LeaseRequest LeaseReply JointState DeviceCommand ArmInfo Empty""".split()


def put(target: str, name: str, data: bytes) -> None:
    (CORPORA / target).mkdir(parents=True, exist_ok=True)
    (CORPORA / target / name).write_bytes(data)


def varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def header() -> bytes:
    """tactus.v1.Header: schema 1, clock 7."""
    fixed = lambda number, value: varint(number << 3 | 1) + struct.pack("<Q", value)
    return b"\x08\x01" + fixed(2, 7) + fixed(3, 10**9) + fixed(4, 10**9 + 5) + b"\x28\x03" + field(6, b"arm/arm")


def wire(recordings: list[Path]) -> None:
    smallest: dict[str, bytes] = {}
    for file in recordings:
        with file.open("rb") as stream:
            for schema, _, message in make_reader(stream).iter_messages():
                kind = schema.name.rsplit(".", 1)[-1]
                if kind in KINDS and len(message.data) < len(smallest.get(kind, b"\0" * 6000)):
                    smallest[kind] = message.data
    lease = b"\x09" + struct.pack("<Q", 5)
    start = field(2, b"\x08\x01" + field(2, b"pick") + b"\x19" + struct.pack("<Q", 3))
    smallest |= {"Empty": b"", "SimReset": b"\x09" + struct.pack("<Q", 7),
                 "LeaseRequest": field(1, field(1, b"panel") + b"\x10\x02\x18\xe8\x07"), "LeaseReply": field(1, lease),
                 "ModeOrder": start, "LeasedOrder": start + varint(16 << 3 | 2) + b"\x0b" + lease + b"\x10\x01",
                 "EvalAnswer": b"\x08\x01\x10\x01" + field(4, b""),
                 "OperatorSetpoint": lease + field(2, struct.pack("<6d", *[0.1] * 6)) + b"\x20\x01"}
    for kind, data in smallest.items():
        put("wire", kind, bytes([KINDS.index(kind), len(header())]) + header() + data)
    put("wire", "key.odd", bytes([29, 0]) + b"tactus/cell/arm/left/setpoint/panel")


def openpi() -> None:
    def array(dtype: bytes, shape: list[int], data: bytes) -> bytes:
        text = lambda s: bytes([0xA0 | len(s)]) + s
        binary = lambda b: b"\xc4" + bytes([len(b)]) + b
        dims = bytes([0x90 | len(shape)]) + bytes(shape)
        return (b"\x84" + binary(b"__ndarray__") + b"\xc3" + binary(b"data") + binary(data) + binary(b"dtype") + text(dtype)
                + binary(b"shape") + dims)

    text = lambda s: bytes([0xA0 | len(s)]) + s
    picture = array(b"|u1", [2, 4, 3], bytes(range(24)))
    state = array(b"<f8", [3], struct.pack("<3d", 0.5, -0.5, 1.0))
    put("openpi", "observation", b"\x84" + text(b"observation/image/scene") + picture + text(b"observation/image/wrist") + picture
        + text(b"observation/state") + state + text(b"prompt") + text(b"pick"))
    put("openpi", "nested.odd", b"\x91" * 40 + b"\x01")


def files() -> None:
    bundle = ROOT / "models/demo/bundle"
    put("bundle", "manifest", b"\0" + (bundle / "bundle.toml").read_bytes())
    tensors = b'{"__metadata__":{"instruction":"pick"},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    tensors += b" " * (-len(tensors) % 8)
    put("bundle", "golden", b"\x01" + struct.pack("<Q", len(tensors)) + tensors + struct.pack("<2f", 1, 2))
    put("bundle", "fast", b"\x02" + (bundle / "fast_config.json").read_bytes())
    put("bundle", "reference.odd", b"\x03" + struct.pack("<Q", len(tensors)) + tensors + struct.pack("<2f", 1, 2))
    put("bundle", "mapping", b"\x04" + (ROOT / "models/openpi/maps/aloha.toml").read_bytes())
    put("calibration", "lens", b"\0" + b"""image_width: 640
image_height: 480
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [520.5, 0., 318.25, 0., 521., 242., 0., 0., 1.]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.1, 0.001, -0.002, 0]}
projection_matrix: {rows: 3, cols: 4, data: [480., 0., 316., 0., 0., 485., 241., 0., 0., 0., 1., 0.]}
""")
    put("calibration", "hand_eye", b"\x01" + b"""schema = 1
camera = "scene"
mount = "eye-to-hand"
link = "base"
arm_sha256 = ""
lens_sha256 = ""
[X_BC]
xyz_m = [0.5, 0.0, 0.4]
quaternion_wxyz = [1.0, 0.0, 0.0, 0.0]
[quality]
poses = 20
span_deg = 60.0
agreement_mm = 0.4
agreement_deg = 0.05
held_out_mm = 0.6
std_mm = 0.2
std_deg = 0.03
""")
    put("calibration", "latency", b"\x02" + b"""schema = 1
arm = "arm"
model = "so101"
joint = "shoulder_pan"
command_to_motion_ms = 42.5
error_ms = 0.5
alike = 0.99
state_age_ms = 2.0
""")
    motor = '{"id": %d, "drive_mode": 0, "homing_offset": -12, "range_min": 100, "range_max": 3900}'
    motors = ", ".join(f'"{name}": {motor % (i + 1)}' for i, name in enumerate(("shoulder_pan", "shoulder_lift", "gripper")))
    put("calibration", "servos", b"\x03{" + motors.encode() + b"}")
    put("plan", "demo", b"\0" + (ROOT / "runtime/eval/examples/demo.toml").read_bytes())
    put("plan", "results", b"\x01" + (ROOT / "runtime/eval/examples/roboalign.csv").read_bytes()[:1500])


def lines() -> None:
    def crc(data: bytes, polynomial: int, value: int, reflected: bool) -> bytes:
        for byte in data:
            value ^= byte if reflected else byte << 8
            for _ in range(8):
                if reflected:
                    value = value >> 1 ^ (polynomial if value & 1 else 0)
                else:
                    value = (value << 1 ^ (polynomial if value & 0x8000 else 0)) & 0xFFFF
        return struct.pack("<H", value)

    dynamixel = lambda body: body + crc(body, 0x8005, 0, False)
    modbus = lambda body: body + crc(body, 0xA001, 0xFFFF, True)
    put("serial", "feetech", b"\0" + bytes.fromhex("ffff01040034 12b4 ffff0202 00fb".replace(" ", "")))
    put("serial", "dynamixel", b"\x01" + dynamixel(bytes.fromhex("fffffd00010a00550000fffffdfd00"))
        + dynamixel(bytes.fromhex("fffffd0002070055000604 26")))
    put("serial", "robotiq", b"\x02" + modbus(bytes.fromhex("0903063100000000ff")))
    put("serial", "robotiq_write", b"\x02" + modbus(bytes.fromhex("091003e80003")))
    frame = lambda kind, payload: struct.pack(">HB", len(payload) + 3, kind) + payload
    state = b"\x01" + struct.pack(">12d", *[0.1] * 12) + struct.pack(">iII", 7, 1, 2) + struct.pack(">d", 1.0) + struct.pack(">5i", *range(5))
    put("rtde", "session", b"\0" + frame(86, b"\x01") + frame(118, struct.pack(">4I", 5, 11, 0, 1)) + frame(79, b"\x01VECTOR6D,VECTOR6D")
        + frame(85, state) + frame(77, b"\x05hello\x03here\x03"))
    put("rtde", "node.odd", b"\x03" + bytes(range(200)))
    put("rtde", "node_reply", b'\x03{"ok":true}')
    jpeg = (ROOT / "models/demo/golden/0-scene.jpg").read_bytes()[:700] + b"\xff\xd9"
    part = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n"
    put("camera", "stream", b"\xff" + head + b"\r\n" + part * 2)
    put("camera", "chunked", b"\x40" + head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (2 * len(part)) + part * 2 + b"\r\n0\r\n\r\n")


def ros() -> None:
    """XCDR1 as rosbags wrote it for the driver's own tests."""
    goldens = json.loads((ROOT / "drivers/ros/tests/goldens.json").read_text())
    for name, data in goldens["cdr"].items():
        for at, kind in enumerate(("joints", "trajectory", "array")):
            if name.startswith(kind):
                # Of an arm with other joints than the decoder's test asks for.
                put("ros", f"{name}.odd" if name == "joints_full" else name, bytes([at]) + bytes.fromhex(data))
    put("ros", "nothing", b"\x03" + bytes.fromhex("0001000000"))
    put("ros", "bool", b"\x04" + bytes.fromhex("0001000001"))
    put("ros", "attachment", b"\x05" + struct.pack("<2q", 1, 10**18) + b"\x10" + bytes(range(16)))


def mcap(recordings: list[Path]) -> None:
    """Ten messages of a recording, in the kinds of chunk that there are."""
    messages = []
    with recordings[0].open("rb") as stream:
        for schema, channel, message in make_reader(stream).iter_messages(topics=None):
            if len(message.data) < 400 and len(messages) < 10:
                messages.append((schema, channel, message))
    for name, compression in (("plain", CompressionType.NONE), ("zstd.odd", CompressionType.ZSTD), ("lz4.odd", CompressionType.LZ4)):
        (CORPORA / "mcap").mkdir(parents=True, exist_ok=True)
        with (CORPORA / "mcap" / name).open("wb") as stream:
            writer = Writer(stream, compression=compression)
            writer.start("", "seeds")
            ids: dict[int, int] = {}
            for schema, channel, message in messages:
                if channel.id not in ids:
                    known = writer.register_schema(schema.name, schema.encoding, schema.data[:60])
                    ids[channel.id] = writer.register_channel(channel.topic, channel.message_encoding, known, channel.metadata)
                writer.add_message(ids[channel.id], message.log_time, message.data, message.publish_time, message.sequence)
            writer.add_attachment(0, 0, "cell.toml", "text/plain", b"name = 'demo'")
            writer.add_metadata("tactus.counts", {"messages": "10"})
            writer.finish()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    recorded = [Path(name) for name in sys.argv[1:]]
    wire(recorded)
    openpi()
    files()
    lines()
    ros()
    mcap(recorded)
    print(sum(1 for file in CORPORA.rglob("*") if file.is_file()), "seeds in", CORPORA.name)
