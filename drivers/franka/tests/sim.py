"""franka-sim as a robot for the tests: limits of motion and of communication enforced, loopback only, nothing downloaded.

    sim.py PORT ACCOUNT [--urdf FILE] [--hand PORT]

Its own model of the arm is downloaded at the first start; instead the URDF that it serves is compiled, without its meshes. What
it made of every cycle is counted here where franka-sim closes it, and written to ACCOUNT when it is told to end (SIGTERM).
Lines on stdin do to it what happens to a robot: `user-stop`, `guiding`, `idle`, `reflex NAME`.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as xml
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("account")
parser.add_argument("--urdf", help="served to clients instead of its own")
parser.add_argument("--hand", type=int, help="port of a Franka Hand, which has 30 mm between its fingers")
arguments = parser.parse_args()

import mujoco  # noqa: E402

import franka_sim  # noqa: E402
from franka_sim.comm_constraints import CommConstraintTracker  # noqa: E402
from franka_sim.gripper.backend import FrankaHandSim  # noqa: E402
from franka_sim.gripper.server import FrankaGripperServer  # noqa: E402
from franka_sim.limits import tables  # noqa: E402
from franka_sim.robot_state import RobotMode  # noqa: E402


def model(folder: str) -> str:
    """The arm as MuJoCo reads it: the package's URDF without pictures and shapes, with the names that franka-sim looks for."""
    tree = xml.parse(Path(franka_sim.__file__).parent / "models" / "fr3.urdf")
    for link in tree.getroot().iter("link"):
        for shape in link.findall("visual") + link.findall("collision"):
            link.remove(shape)
    bare = Path(folder) / "bare.urdf"
    tree.write(bare)
    spec = mujoco.MjSpec.from_file(str(bare))
    for joint in spec.joints:
        joint.name = f"fr3_{joint.name}"
        # The URDF has no inertia of the motors, and franka-sim's servo is stable at 1 ms only with some.
        joint.armature = 0.3
    for body in spec.bodies:
        if body.name.startswith("link"):
            body.name = f"fr3_{body.name}"
    spec.compile()
    file = Path(folder) / "fr3.xml"
    file.write_text(spec.to_xml())
    return str(file)


account = {"cycles": 0, "lost": 0, "longest": 0, "motions": 0, "violations": 0, "slow": 0, "slowest_us": 0}
closed_at = None
close_cycle = CommConstraintTracker.tick
start_motion = CommConstraintTracker.start_motion


def counted(self, published_id):
    global closed_at
    outcome = close_cycle(self, published_id)
    before, closed_at = closed_at, time.perf_counter() if outcome.active else None
    if outcome.active:
        took = 0 if before is None else closed_at - before
        account["slow"] += int(took > 0.002)
        account["slowest_us"] = max(account["slowest_us"], int(1e6 * took))
        account["cycles"] += 1
        account["lost"] += int(outcome.lost)
        account["longest"] = max(account["longest"], outcome.consecutive_lost)
        account["violations"] += int(outcome.violation_triggered)
    return outcome


def started(self, motion_id=0):
    account["motions"] += 1
    return start_motion(self, motion_id)


CommConstraintTracker.tick = counted
CommConstraintTracker.start_motion = started


def obey(server) -> None:
    """Does to the robot what it is told on stdin."""
    for line in sys.stdin:
        word, _, name = line.strip().partition(" ")
        state = server.robot_state.state
        if word == "user-stop":
            state["robot_mode"] = RobotMode.kUserStopped
        elif word == "guiding":
            state["robot_mode"] = RobotMode.kGuiding
        elif word == "idle":
            state["robot_mode"] = RobotMode.kIdle
        elif word == "reflex":
            index = next(i for i, known in tables.ERROR_NAMES.items() if known == name)
            server._abort_with_error(index, "told to", server._motion_generation)
        print(f"did {line.strip()}", flush=True)


class Robot(franka_sim.FrankaSimServer):
    """One that says when it serves, and that takes late packets as FCI does."""

    def _absorb_within_motion_limits(self, command, *, fresh):
        """A command that missed its cycle is dropped, as FCI does. franka-sim applies it for the sake of clients that are slow,
        and calls that the one place where it treats packets in another way than the robot; what it then takes for the
        acceleration of a command after a gap is up to twice the client's."""
        return fresh and super()._absorb_within_motion_limits(command, fresh=fresh)

    def run_server(self):
        print("ready", flush=True)
        super().run_server()


def hurry() -> None:
    """A controller has a computer of its own; this one shares a machine with what it tests. Ahead of ordinary processes where
    that is permitted, and with threads that wait for each other for less than one of its cycles, not for five."""
    sys.setswitchinterval(0.0002)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
    except PermissionError:
        pass


logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
with tempfile.TemporaryDirectory() as folder:
    os.environ["FR3_MJCF"] = model(folder)
    server = Robot(
        host="127.0.0.1",
        port=arguments.port,
        urdf_path=arguments.urdf,
        enable_gripper=False,
        enforce_comm_constraints=True,
        enforce_motion_limits=True,
    )

    def end(*_) -> None:
        text = "".join(f"{name} {count}\n" for name, count in account.items())
        Path(arguments.account).write_text(text)
        os._exit(0)

    if arguments.hand:
        hand = FrankaGripperServer("127.0.0.1", arguments.hand, FrankaHandSim(object_width=0.03))
        threading.Thread(target=hand.run_server, daemon=True).start()
    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=obey, args=(server,), daemon=True).start()
    hurry()
    server.start()
