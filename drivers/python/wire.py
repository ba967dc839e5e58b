"""The wire for drivers in Python: a session, and messages with the header that every receiver checks.

Decides nothing. The messages are those of runtime/wire/proto, compiled when this is imported.
"""

import importlib
import pathlib
import sys
import tempfile
import threading
import time

import zenoh
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _compiled(*names):
    """The modules of these names, of the .proto files: compiled into a folder that is gone once they are imported."""
    proto = ROOT / "runtime/wire/proto"
    files = sorted(str(p.relative_to(proto)) for p in proto.rglob("*.proto"))
    well_known = pathlib.Path(protoc.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory(prefix="tactus-proto-") as out:
        if protoc.main(["protoc", f"-I{proto}", f"-I{well_known}", f"--python_out={out}", *files]):
            raise SystemExit(f"{proto} cannot be compiled")
        sys.path.insert(0, out)
        try:
            return [importlib.import_module(name) for name in names]
        finally:
            sys.path.remove(out)


device, camera, header, image = _compiled(
    "tactus.v1.device_pb2", "tactus.v1.camera_pb2", "tactus.v1.header_pb2", "foxglove.CompressedImage_pb2"
)


def clock_id():
    """The identity of this host's monotonic clock: both halves of the boot id's 128 bits, folded into one."""
    text = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text()
    bits = int(text.strip().replace("-", ""), 16)
    return (bits >> 64) ^ (bits & (2**64 - 1))


def now():
    """Nanoseconds of CLOCK_MONOTONIC, the clock of every time in every message."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


CLOCK = clock_id()


class Driver:
    """A driver's keys under `tactus/<cell>/<place>/<name>`, and its liveliness token."""

    def __init__(self, cell, place, name, connect):
        config = zenoh.Config()
        config.insert_json5("mode", '"peer"')
        config.insert_json5("listen/endpoints", '["tcp/127.0.0.1:0"]')
        config.insert_json5("connect/endpoints", f'["{connect}"]')
        config.insert_json5("scouting/multicast/enabled", "false")
        self.session = zenoh.open(config)
        self.base, self.source = f"tactus/{cell}/{place}/{name}", f"{place}/{name}"
        self.counters = {}
        self.lock = threading.Lock()
        self.token = self.session.liveliness().declare_token(f"tactus/{cell}/alive/{place}/{name}")

    def header(self, topic, captured=None):
        """The attachment of the next message on `topic`."""
        with self.lock:
            seq = self.counters.get(topic, 0)
            self.counters[topic] = seq + 1
        at = now()
        return header.Header(
            schema_version=1,
            clock=CLOCK,
            captured_nanos=captured or at,
            published_nanos=at,
            seq=seq,
            source=self.source,
        ).SerializeToString()

    def publish(self, topic, message, captured=None):
        """Sends `message` on `topic`; `captured`: when what it says was true."""
        self.session.put(
            f"{self.base}/{topic}",
            message.SerializeToString(),
            attachment=self.header(topic, captured),
            priority=zenoh.Priority.REAL_TIME,
            congestion_control=zenoh.CongestionControl.DROP,
            express=True,
        )

    def answer(self, topic, message):
        """Answers every query on `topic` with `message`."""
        key = f"{self.base}/{topic}"

        def reply(query):
            query.reply(key, message.SerializeToString(), attachment=self.header(topic + " answers"))

        return self.session.declare_queryable(key, reply)

    def listen(self, topic, kind, take):
        """Calls `take(message, published)` with every message on `topic` that is what it should be: of this clock, of this
        schema, not from the future. Anything else is dropped: whatever the network sends is hostile until checked."""

        def on_sample(sample):
            try:
                head = header.Header.FromString(sample.attachment.to_bytes())
                message = kind.FromString(sample.payload.to_bytes())
            except Exception:
                return
            if head.schema_version == 1 and head.clock == CLOCK and head.published_nanos <= now():
                take(message, head.published_nanos)

        return self.session.declare_subscriber(f"{self.base}/{topic}", on_sample)
