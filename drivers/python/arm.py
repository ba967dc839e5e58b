"""An arm driver in Python, as an example: two joints that exist only here. Replace `Motors` with yours.

    python drivers/python/arm.py --cell lab --name left --connect tcp/127.0.0.1:7447
    tactus conformance arm tactus/lab/device/left --connect tcp/127.0.0.1:7447 --arm-is-clear

What it decides is what every driver has to: which commands count, that the arm stays where it is when none comes, and
that torque changes only when it is told to. The protocol stands in drivers/api.
"""

import argparse
import math
import threading
import time

import wire
from wire import device

JOINTS = ["shoulder", "elbow"]
LIMITS = [(-2.0, 2.0, 2.0, 20.0, 600.0)] * 2  # lower, upper, velocity, acceleration, jerk
RATE_HZ = 200
DEADLINE_NS = 100_000_000


class Motors:
    """Position-controlled motors: they go to their goal with a time constant of 20 ms."""

    def __init__(self):
        self.q, self.opening, self.torque = [0.3, -0.4], 0.5, True
        self.dq = [0.0] * len(self.q)

    def step(self, goal, opening, secs):
        share = 1.0 - math.exp(-secs / 0.02)
        before = list(self.q)
        if self.torque:
            self.q = [q + share * (g - q) for q, g in zip(self.q, goal)]
            self.opening += share * (opening - self.opening)
        self.dq = [(q - b) / secs for q, b in zip(self.q, before)]


class Gate:
    """Which commands count. Holding is keeping the last goal."""

    def __init__(self, motors, epoch):
        self.motors, self.epoch = motors, epoch
        self.goal, self.opening = list(motors.q), motors.opening
        self.tick, self.fed = None, 0
        self.enabling, self.found = False, None
        self.lock = threading.Lock()

    def counts(self, command, published):
        n = len(JOINTS)
        fresh = wire.now() - self.fed > DEADLINE_NS  # nobody is in command: ticks begin anew
        return (
            command.epoch == self.epoch
            and len(command.q) == len(command.dq) == n
            and all(map(math.isfinite, [*command.q, *command.dq]))
            and all(l[0] - 1e-6 <= q <= l[1] + 1e-6 for q, l in zip(command.q, LIMITS))
            and 0.0 <= command.opening <= 1.0
            and (fresh or self.tick is None or command.tick > self.tick)
            and wire.now() - published <= DEADLINE_NS
        )

    def take(self, command, published):
        with self.lock:
            if not self.counts(command, published):
                return
            found = self.found_at(command)
            self.tick, self.fed = command.tick, wire.now()
            self.enabling, self.found = command.torque == device.TORQUE_ON, found
            if command.torque == device.TORQUE_OFF:
                self.motors.torque = False
            elif command.torque == device.TORQUE_ON and not self.motors.torque:
                # The present pose first, then torque: nothing leaps.
                self.goal, self.opening = list(self.motors.q), self.motors.opening
                self.motors.torque = True
                return
            if self.motors.torque:
                self.goal = list(command.q)
                if found is None:
                    self.opening = command.opening

    def found_at(self, command):
        """The opening that whoever commands began with, until it asks for another: where it measured the fingers, and not
        what they press with."""
        begins = (
            self.tick is None
            or command.tick <= self.tick
            or self.enabling
            or command.torque == device.TORQUE_ON
            or not self.motors.torque
        )
        if begins:
            return command.opening
        same = self.found is not None and abs(command.opening - self.found) <= 0.01
        return self.found if same else None

    def step(self, secs):
        with self.lock:
            if not self.motors.torque:
                self.goal, self.opening = list(self.motors.q), self.motors.opening
            self.motors.step(self.goal, self.opening, secs)


def info():
    limits = [
        device.JointLimits(lower=l, upper=u, velocity=v, acceleration=a, jerk=j) for l, u, v, a, j in LIMITS
    ]
    return device.ArmInfo(
        model="python-example",
        joints=JOINTS,
        limits=limits,
        gripper=True,
        state_rate_hz=RATE_HZ,
        brakes=False,
        command_deadline_secs=DEADLINE_NS / 1e9,
        torque_switch=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("cell", "name", "connect"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    driver = wire.Driver(args.cell, "device", args.name, args.connect)
    motors = Motors()
    gate = Gate(motors, epoch=wire.now())  # never used before on this host, and grows
    kept = [driver.answer("info", info()), driver.listen("command", device.DeviceCommand, gate.take)]
    driver.publish("info", info())
    period = 1.0 / RATE_HZ
    due = time.monotonic()
    while kept:
        gate.step(period)
        state = device.JointState(
            epoch=gate.epoch, q=motors.q, dq=motors.dq, opening=motors.opening, torque=motors.torque
        )
        driver.publish("state", state, captured=wire.now())
        # Absolute deadlines: what was missed is skipped, never made up for by a burst.
        due = max(due + period, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
