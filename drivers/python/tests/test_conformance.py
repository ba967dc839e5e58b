"""The example drivers keep the protocol, and drivers that are broken on purpose are found out."""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TACTUS = os.environ["TACTUS"]
PORT = 17461
JPEGS = HERE.parents[2] / "models/demo/golden"


def endpoint(port):
    return f"tcp/127.0.0.1:{port}"


def conformance(of, key, *more, port=PORT):
    """The checks by name."""
    out = HERE / f"{port}.json.tmp"
    command = [TACTUS, "conformance", of, key, "--connect", endpoint(port), "--json", str(out), *more]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert out.exists(), run.stdout + run.stderr
    checks = {c["name"]: c for c in json.loads(out.read_text())}
    out.unlink()
    failed = [c for c in checks.values() if c["verdict"] == "FAIL"]
    assert run.returncode == (3 if failed else 0), run.stdout + run.stderr
    return checks


class Running:
    """A driver, with a line of it replaced, and a listener that everybody connects to."""

    def __init__(self, file, *args, edit=None, port=PORT):
        text = (HERE.parent / file).read_text()
        if edit:
            assert edit[0] in text
            text = text.replace(*edit)
        self.hub = subprocess.Popen([sys.executable, "-c", HUB % endpoint(port)])
        self.driver = subprocess.Popen(
            [sys.executable, "-c", text, "--connect", endpoint(port), *args],
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )

    def __enter__(self):
        time.sleep(2.0)
        return self

    def __exit__(self, *_):
        for process in (self.driver, self.hub):
            process.kill()
            process.wait()


HUB = """
import time, zenoh
config = zenoh.Config()
config.insert_json5("mode", '"peer"')
config.insert_json5("listen/endpoints", '["%s"]')
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


def test_the_camera_keeps_the_protocol():
    with Running("camera.py", "--cell", "lab", "--name", "scene", "--folder", str(JPEGS)):
        checks = conformance("camera", "tactus/lab/camera/scene")
    assert {c["verdict"] for c in checks.values()} <= {"pass", "note"}, checks


# What is wrong with a driver, the check that must find it, and what that check needs. None of it depends on a quiet machine, so
# all are tried at once.
ARM_KEY = ("arm", "tactus/lab/device/left")
CAMERA = ("camera.py", "--cell", "lab", "--name", "scene", "--folder", str(JPEGS))
MOVING = ("--arm-is-clear",)
BROKEN = {
    "old tick": (ARM_KEY, MOVING, ("(fresh or self.tick is None or command.tick > self.tick)", "True")),
    "watchdog": (
        ARM_KEY,
        MOVING,
        ("self.motors.step(self.goal,", "self.goal = [g + 5e-4 for g in self.goal]; self.motors.step(self.goal,"),
    ),
    "rate": (ARM_KEY, (), ("period = 1.0 / RATE_HZ", "period = 1.5 / RATE_HZ")),
    "time stamps": (ARM_KEY, (), ("captured=wire.now()", "captured=wire.now() - 10**9")),
    "rate of a camera": (
        ("camera", "tactus/lab/camera/scene"),
        (),
        ("due = max(due + 1.0 / args.rate", "due = max(due + 1.5 / args.rate"),
    ),
}


@pytest.fixture(scope="module")
def broken():
    """The checks of every broken driver, each with a listener of its own."""

    def checked(entry):
        number, (key, more, edit) = entry
        driver = CAMERA if key[0] == "camera" else ("arm.py", *ARM)
        port = PORT + 1 + number
        with Running(*driver, edit=edit, port=port):
            return conformance(*key, *more, port=port)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(BROKEN, pool.map(checked, enumerate(BROKEN.values()))))


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_broken_driver_is_found_out(broken, wrong):
    name = wrong.removesuffix(" of a camera")
    assert broken[wrong][name]["verdict"] == "FAIL", broken[wrong]


def test_what_is_compiled_for_a_driver_is_not_left_behind(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(HERE.parent), "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "import wire; wire.device.JointState()"], env=env, check=True)
    assert list(tmp_path.iterdir()) == []
