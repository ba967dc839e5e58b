"""The example drivers keep the protocol, and drivers that are broken on purpose are found out."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TACTUS = os.environ["TACTUS"]
ENDPOINT = "tcp/127.0.0.1:17461"
JPEGS = HERE.parents[2] / "models/demo/golden"


def conformance(of, key, *more):
    """The checks by name."""
    out = HERE / f"{of}.json.tmp"
    command = [TACTUS, "conformance", of, key, "--connect", ENDPOINT, "--json", str(out), *more]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert out.exists(), run.stdout + run.stderr
    checks = {c["name"]: c for c in json.loads(out.read_text())}
    out.unlink()
    failed = [c for c in checks.values() if c["verdict"] == "FAIL"]
    assert run.returncode == (3 if failed else 0), run.stdout + run.stderr
    return checks


class Running:
    """A driver, with a line of it replaced, and a listener that everybody connects to."""

    def __init__(self, file, *args, edit=None):
        text = (HERE.parent / file).read_text()
        if edit:
            assert edit[0] in text
            text = text.replace(*edit)
        self.hub = subprocess.Popen([sys.executable, "-c", HUB])
        self.driver = subprocess.Popen(
            [sys.executable, "-c", text, "--connect", ENDPOINT, *args],
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )

    def __enter__(self):
        time.sleep(2.0)
        return self

    def __exit__(self, *_):
        for process in (self.driver, self.hub):
            process.kill()
            process.wait()


HUB = f"""
import time, zenoh
config = zenoh.Config()
config.insert_json5("mode", '"peer"')
config.insert_json5("listen/endpoints", '["{ENDPOINT}"]')
config.insert_json5("scouting/multicast/enabled", "false")
session = zenoh.open(config)
time.sleep(600)
"""
ARM = ("--cell", "lab", "--name", "left")


def test_the_arm_keeps_the_protocol():
    with Running("arm.py", *ARM):
        checks = conformance("arm", "tactus/lab/device/left", "--arm-is-clear")
    assert len(checks) == 20
    assert {c["verdict"] for c in checks.values()} == {"pass"}, checks


def test_an_arm_that_is_not_clear_is_not_moved():
    with Running("arm.py", *ARM):
        checks = conformance("arm", "tactus/lab/device/left")
    assert checks["follows"]["verdict"] == "skipped"
    assert checks["rate"]["verdict"] == "pass"


MOVING = ["--arm-is-clear"]


@pytest.mark.parametrize(
    ("name", "more", "edit"),
    [
        ("old tick", MOVING, ("(fresh or self.tick is None or command.tick > self.tick)", "True")),
        (
            "watchdog",
            MOVING,
            ("self.motors.step(self.goal,", "self.goal = [g + 5e-4 for g in self.goal]; self.motors.step(self.goal,"),
        ),
        ("rate", [], ("period = 1.0 / RATE_HZ", "period = 1.5 / RATE_HZ")),
        ("time stamps", [], ("captured=wire.now()", "captured=wire.now() - 10**9")),
    ],
)
def test_a_broken_arm_is_found_out(name, more, edit):
    with Running("arm.py", *ARM, edit=edit):
        checks = conformance("arm", "tactus/lab/device/left", *more)
    assert checks[name]["verdict"] == "FAIL", checks


def test_the_camera_keeps_the_protocol():
    with Running("camera.py", "--cell", "lab", "--name", "scene", "--folder", str(JPEGS)):
        checks = conformance("camera", "tactus/lab/camera/scene")
    assert {c["verdict"] for c in checks.values()} <= {"pass", "note"}, checks


def test_a_camera_that_is_slow_is_found_out():
    edit = ("due = max(due + 1.0 / args.rate", "due = max(due + 1.5 / args.rate")
    with Running("camera.py", "--cell", "lab", "--name", "scene", "--folder", str(JPEGS), edit=edit):
        checks = conformance("camera", "tactus/lab/camera/scene")
    assert checks["rate"]["verdict"] == "FAIL", checks
