"""A real cell as processes over loopback, for tests."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
TACTUS = os.environ.get("TACTUS", str(CHECKOUT / "target/debug/tactus"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cell_file(folder):
    """The demo cell, patient with a busy machine; a hold waits for an operator."""
    text = (CHECKOUT / "launch/cells/demo.toml").read_text()
    text = text.replace("../../models/demo/bundle", str(CHECKOUT / "models/demo/bundle"))
    for old, new in [
        ("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 "),
        ("frame_limit_ms = 150 ", "frame_limit_ms = 2000 "),
        ("answer_within_ms = 250 ", "answer_within_ms = 2000 "),
        ('resume = "auto"', 'resume = "operator"'),
        ("settle_ms = 200 ", "operator_limit_ms = 1500\nsettle_ms = 200 "),
    ]:
        assert old in text
        text = text.replace(old, new)
    file = folder / "cell.toml"
    file.write_text(text)
    return file


class Process:
    def __init__(self, log, *args):
        self.log = open(log, "w")
        self.process = subprocess.Popen([TACTUS, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def start_panel(folder, cell, endpoint, *more):
    panel = Process(folder / "panel.log", "panel", "--cell", cell, "--connect", endpoint, "--listen", "127.0.0.1:0", *more)
    said = panel.process.stdout.readline()
    url = re.search(r"http://\S+", said)
    assert url, said + (folder / "panel.log").read_text()
    return panel, url[0]
