"""Live export, read by what knows nothing of this program: traces by the official protobuf of OpenTelemetry, Foxglove's websocket
by a plain websocket client and the schemas that come with it. A real cell as processes over loopback.
"""

import base64
import json
import re
import socket
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import websocket
from cells import Process, cell_file, free_port, start_panel
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Status

STAGES = ["capture", "transport", "queue", "assemble", "decode", "preprocess", "vision", "backbone", "context", "denoise", "deliver", "limit", "actuate"]


class Collector:
    """What takes traces on a port, until it is closed."""

    def __init__(self, port=0):
        self.requests, self.bodies = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
                outer.requests.append(ExportTraceServiceRequest.FromString(body))
                outer.bodies.append(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def traces(self):
        """Spans by trace."""
        traces = {}
        for request in list(self.requests):
            for resource in request.resource_spans:
                assert {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"] == "tactus"
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        traces.setdefault(span.trace_id, []).append(span)
        return traces


def wait(what, done, within=60):
    until = time.time() + within
    while not done():
        assert time.time() < until, f"waited in vain until {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    file, endpoint = cell_file(folder), f"tcp/127.0.0.1:{free_port()}"
    run = Process(folder / "run.log", "run", file, "--listen", endpoint)
    time.sleep(3)
    collector = Collector()
    panel, url = start_panel(folder, file, endpoint, "--otlp", f"http://127.0.0.1:{collector.port}")
    yield folder, file, endpoint, url, collector
    panel.end()
    run.end()


def act(url, **ask):
    request = urllib.request.Request(url + "act", json.dumps(ask).encode(), {"Content-Type": "application/json"})
    try:
        return json.load(urllib.request.urlopen(request))["ok"]
    except urllib.error.HTTPError:
        return False


def snapshot(url):
    return json.load(urllib.request.urlopen(url + "snapshot"))


def attributes(span):
    of = lambda value: getattr(value, value.WhichOneof("value"))
    return {a.key: of(a.value) for a in span.attributes}


def test_every_chunk_is_a_trace_that_a_collector_takes(cell):
    _, file, _, url, collector = cell
    wait("the cell is enabled", lambda: act(url, ask="enable"))
    wait("an episode begins", lambda: act(url, ask="start", instruction="pick up the red cube"))
    # Where the machine stood still for a moment the arm holds until it is told to go on.
    go_on = lambda: snapshot(url)["mode"]["word"] == "hold" and act(url, ask="enable")
    wait("traces come", lambda: len(collector.traces()) >= 20 or go_on() and False)
    now, taken = time.time_ns(), 0
    numbers = set()
    for trace, spans in collector.traces().items():
        assert len(trace) == 16 and any(trace)
        whole = [s for s in spans if not s.parent_span_id]
        assert [s.name for s in whole] == ["chunk"], "one whole"
        whole, parts = whole[0], [s for s in spans if s.parent_span_id]
        ids = [s.span_id for s in spans]
        assert len(set(ids)) == len(ids) and all(len(i) == 8 and any(i) for i in ids)
        assert abs(now - whole.start_time_unix_nano) < 120e9, "Unix time"
        said = attributes(whole)
        assert said["tactus.request_id"] not in numbers
        numbers.add(said["tactus.request_id"])
        assert re.fullmatch("[0-9a-f]{16}", said["tactus.boot"]) and said["tactus.generation"] > 0
        order = [STAGES.index(s.name) for s in parts]
        assert order == sorted(order), "stages in their order"
        for part in parts:
            assert part.parent_span_id == whole.span_id
            assert whole.start_time_unix_nano <= part.start_time_unix_nano < part.end_time_unix_nano <= whole.end_time_unix_nano
            over = (part.end_time_unix_nano - part.start_time_unix_nano) * 1e-6 > attributes(part)["tactus.budget_ms"]
            assert over == attributes(part)["tactus.over_budget"]
        if whole.status.code == Status.STATUS_CODE_UNSET:
            taken += 1
            assert {"vision", "denoise", "deliver"} <= {s.name for s in parts}
            assert 0 < said["tactus.age_ms"] < 5000 and 0 < said["tactus.inference_ms"] < said["tactus.age_ms"]
            assert [attributes(s)["tactus.budget_ms"] for s in parts if s.name == "vision"] == [12]
    assert taken >= 15
    assert b"bundle" not in b"".join(collector.bodies), "which policy it was stays blinded"


def test_a_collector_that_is_gone_costs_nothing_and_is_found_again(cell):
    _, _, _, url, collector = cell
    collector.close()
    time.sleep(3)
    assert snapshot(url)["mode"]["word"] in ("policy", "hold"), "the panel serves, and the arm goes on"
    again = Collector(collector.port)
    go_on = lambda: snapshot(url)["mode"]["word"] == "hold" and act(url, ask="enable")
    wait("traces come again", lambda: len(again.traces()) > 5 or go_on() and False)
    again.close()


class Foxglove:
    """A client of the protocol's text."""

    def __init__(self, address, protocol="foxglove.websocket.v1", **how):
        self.socket = websocket.create_connection(address, subprotocols=[protocol], timeout=20, **how)
        assert self.socket.subprotocol == protocol
        self.info, advertised = json.loads(self.socket.recv()), json.loads(self.socket.recv())
        assert (self.info["op"], advertised["op"]) == ("serverInfo", "advertise")
        self.channels = {c["topic"]: c for c in advertised["channels"]}
        self.decoders, self.names, self.told = {}, {}, []

    def subscribe(self, **topics):
        """Topics by the number of the subscription."""
        subscriptions = []
        for number, topic in topics.items():
            channel, number = self.channels[topic], int(number[1:])
            assert (channel["encoding"], channel["schemaEncoding"]) == ("protobuf", "protobuf")
            files = descriptor_pb2.FileDescriptorSet.FromString(base64.b64decode(channel["schema"]))
            pool = descriptor_pool.DescriptorPool()
            for file in files.file:
                pool.Add(file)
            self.decoders[number] = message_factory.GetMessageClass(pool.FindMessageTypeByName(channel["schemaName"]))
            self.names[number] = topic
            subscriptions.append({"id": number, "channelId": channel["id"]})
        self.ask(op="subscribe", subscriptions=subscriptions)

    def ask(self, **what):
        self.socket.send(json.dumps(what))

    def next(self):
        """Topic, Unix time and message; what is told meanwhile is kept."""
        while True:
            kind, data = self.socket.recv_data()
            if kind == websocket.ABNF.OPCODE_TEXT:
                self.told.append(json.loads(data))
                continue
            assert kind == websocket.ABNF.OPCODE_BINARY and data[0] == 1
            number, nanos = int.from_bytes(data[1:5], "little"), int.from_bytes(data[5:13], "little")
            return self.names[number], nanos * 1e-9, self.decoders[number].FromString(data[13:])


@pytest.fixture(scope="module")
def foxglove(cell):
    folder, file, endpoint, _, _ = cell
    server = Process(folder / "foxglove.log", "foxglove", "--cell", file, "--connect", endpoint, "--listen", "127.0.0.1:0")
    said = server.process.stdout.readline()
    address = re.search(r"ws://\S+", said)
    assert address, said + (folder / "foxglove.log").read_text()
    yield server, address[0]
    server.end()


def test_foxglove_is_shown_the_cell_with_schemas_that_read_it(foxglove):
    _, address = foxglove
    client = Foxglove(address)
    assert client.info["metadata"]["cell"] == "demo"
    client.subscribe(
        n7="tactus/demo/camera/wrist/image",
        n8="tactus/demo/device/sim/state",
        n9="tactus/demo/arm/arm/mode",
        n10="tactus/demo/arm/arm/info",
    )
    seen, until = {}, time.time() + 20
    while time.time() < until and (len(seen) < 4 or len(seen["tactus/demo/camera/wrist/image"]) < 10):
        topic, at, message = client.next()
        seen.setdefault(topic, []).append((at, message))
        assert topic.endswith("/info") or abs(time.time() - at) < 5, "Unix time, and fresh"
    image, state, info = (seen[f"tactus/demo/{t}"] for t in ("camera/wrist/image", "device/sim/state", "arm/arm/info"))
    assert image[0][1].format == "jpeg" and image[0][1].data[:2] == b"\xff\xd8"
    assert len(state[0][1].q) == 6 and len(state) > len(image), "500 Hz beside 20"
    assert len(info) == 1 and len(info[0][1].joints) == 6, "asked for: it was published long ago"
    client.ask(op="unsubscribe", subscriptionIds=[7, 8, 10])
    time.sleep(1)
    client.subscribe(n11="tactus/demo/arm/arm/telemetry")
    while client.next()[0] != "tactus/demo/arm/arm/telemetry":
        pass
    assert {client.next()[0] for _ in range(20)} <= {"tactus/demo/arm/arm/telemetry", "tactus/demo/arm/arm/mode"}
    client.ask(op="subscribe", subscriptions=[{"id": 12, "channelId": 999}])
    client.ask(op="getParameters", parameterNames=[])
    client.socket.send("nonsense")
    until = time.time() + 20
    while len(client.told) < 3:
        assert time.time() < until, client.told
        client.next()
    said = " ".join(t["message"] for t in client.told)
    assert "no channel 999" in said and "only shows" in said and "not a message" in said
    client.socket.close()
    other = Foxglove(address, "foxglove.sdk.v1", origin="https://app.foxglove.dev")
    other.socket.close()


def test_no_other_page_and_no_other_protocol_is_let_in(foxglove):
    _, address = foxglove
    for how, status in [
        ({"origin": "https://evil.example", "subprotocols": ["foxglove.websocket.v1"]}, 403),
        ({"host": "evil.example", "subprotocols": ["foxglove.websocket.v1"]}, 403),
        ({"subprotocols": ["chat"]}, 400),
    ]:
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            websocket.create_connection(address, timeout=20, **how)
        assert refused.value.status_code == status, how


def memory(process):
    with open(f"/proc/{process.pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) * 1024


def test_a_slow_client_loses_messages_and_keeps_nobody_waiting(foxglove):
    server, address = foxglove
    narrow = ((socket.SOL_SOCKET, socket.SO_RCVBUF, 4096),)
    slow = Foxglove(address, sockopt=narrow)
    topics = [t for t in slow.channels if "/image" in t or t.endswith(("/state", "/command", "/world"))]
    slow.subscribe(**{f"n{i}": topic for i, topic in enumerate(topics)})
    before, quick = memory(server.process), Foxglove(address)
    quick.subscribe(n1="tactus/demo/device/sim/state")
    late, until = [], time.time() + 7
    while time.time() < until:
        late.append(time.time() - quick.next()[1])
    late.sort()
    assert len(late) > 1000 and late[len(late) // 2] < 0.2, "the other one gets its messages as they come"
    assert memory(server.process) - before < 40e6, "what waits has an end"
    until = time.time() + 30
    while not any("left out" in t["message"] for t in slow.told):
        assert time.time() < until, "it was told of nothing that it lost"
        slow.next()
    slow.socket.close()
    quick.socket.close()
