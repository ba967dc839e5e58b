"""The driver on pymodbus as the gripper: a Modbus RTU server that is not ours, behind two joined pseudo-terminals.

What the gripper does with its registers (activation takes a while, fingers move and meet an object) is played here, after
Robotiq's manual; frames, addresses and checksums are pymodbus's. Needs the program `tactus`, named by TACTUS:
`./tests/run` builds it and runs this.
"""

import asyncio
import os
import pty
import select
import subprocess
import threading
import time
import tty

import pytest
from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

OUT, IN = 0x03E8, 0x07D0


def joined():
    """Two terminals, each of which says what the other hears."""
    (a, a_end), (b, b_end) = pty.openpty(), pty.openpty()
    for end in (a, a_end, b, b_end):
        tty.setraw(end)

    def carry():
        while True:
            ready, _, _ = select.select([a, b], [], [])
            for end in ready:
                try:
                    os.write(b if end == a else a, os.read(end, 256))
                except OSError:
                    return

    threading.Thread(target=carry, daemon=True).start()
    return os.ttyname(a_end), os.ttyname(b_end)


class Fingers:
    """Registers of a gripper, and what becomes of them with time."""

    def __init__(self):
        self.out = [0, 0, 0]
        self.position, self.object, self.fault = 100.0, None, 0
        self.active_at, self.moved_at = None, time.monotonic()
        self.writes = []

    def write(self, registers):
        self.writes.append(list(registers))
        self.advance()
        self.out = list(registers)
        if not self.out[0] >> 8 & 1:
            self.active_at, self.fault = None, 0
        elif self.active_at is None:
            self.active_at = time.monotonic() + 0.5

    def active(self):
        return self.active_at is not None and time.monotonic() >= self.active_at

    def following(self):
        return self.active() and self.out[0] >> 8 & 8 != 0

    def advance(self):
        now = time.monotonic()
        step, self.moved_at = 400 * (now - self.moved_at), now
        if not self.following():
            return 3
        goal = min(max(self.out[1] & 0xFF, 3), 230)
        to = self.position + min(max(goal - self.position, -step), step)
        met = 3 if abs(to - goal) < 0.5 else 0
        if self.object is not None and to >= self.object and goal > self.object:
            to, met = self.object, 2
        self.position = to
        return met

    def read(self):
        met = self.advance()
        stage = 3 if self.active() else 1 if self.active_at is not None else 0
        first = (self.out[0] >> 8 & 9) | stage << 4 | (met << 6 if self.following() else 0)
        return [first << 8, self.fault << 8 | (self.out[1] & 0xFF), round(self.position) << 8]


@pytest.fixture
def gripper():
    fingers = Fingers()
    ours, theirs = joined()

    async def action(function, start, address, count, registers, values):
        if values is not None and address == OUT:
            fingers.write(values)
        elif values is None and address == IN:
            registers[IN - start:IN - start + 3] = fingers.read()
        return None

    async def serve():
        data = [
            SimData(OUT, values=[0, 0, 0], datatype=DataType.REGISTERS),
            SimData(IN, values=[0, 0, 0], datatype=DataType.REGISTERS),
        ]
        server = ModbusSerialServer(
            SimDevice(9, simdata=data, action=action), framer=FramerType.RTU, port=theirs, baudrate=115_200
        )
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    time.sleep(0.5)
    fingers.port = ours
    return fingers


def tactus(*words):
    command = [os.environ["TACTUS"], "device", "gripper", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def test_a_client_that_is_not_ours_reads_the_same(gripper):
    client = ModbusSerialClient(gripper.port, framer=FramerType.RTU, baudrate=115_200)
    assert client.connect()
    assert client.read_holding_registers(IN, count=3, device_id=9).registers == [0, 0, 100 << 8]
    client.close()


def test_checking_moves_nothing_and_moving_wants_an_activation(gripper):
    code, said, _ = tactus("check", "--port", gripper.port)
    assert code == 0 and said.startswith("not active") and "position 100 of 255" in said
    code, _, error = tactus("move", "--port", gripper.port, "0.5")
    assert code != 0 and "the gripper is not active" in error
    code, _, error = tactus("activate", "--port", gripper.port)
    assert code != 0 and "--fingers-are-clear" in error
    assert gripper.writes == []


def test_it_is_activated_closed_on_an_object_and_opened(gripper):
    code, said, error = tactus("activate", "--port", gripper.port, "--fingers-are-clear")
    assert code == 0 and said.startswith("active"), error
    assert gripper.writes == [[0, 0, 0], [0x0100, 0, 0]], "reset, then activation"
    code, said, _ = tactus("activate", "--port", gripper.port, "--fingers-are-clear")
    assert code == 0 and "active already" in said and len(gripper.writes) == 2
    gripper.object = 180
    code, said, error = tactus("move", "--port", gripper.port, "0", "--speed", "1", "--force", "0.2")
    assert code == 0 and "stopped by something while closing" in said and "position 180" in said, (said, error)
    assert gripper.writes[-1] == [0x0900, 255, 0xFF33]
    code, said, _ = tactus("move", "--port", gripper.port, "0.6")
    assert code == 0 and "where they were told to be" in said and "opening 0.60" in said
    code, _, error = tactus("move", "--port", gripper.port, "1.5")
    assert code != 0 and "expected 0 to 1, got 1.5" in error


def test_faults_and_refusals_are_one_sentence(gripper):
    gripper.fault = 0x0E
    code, _, error = tactus("check", "--port", gripper.port)
    assert code != 0 and "too much current" in error
    # pymodbus answers for slaves that it has not, with an exception.
    code, _, error = tactus("check", "--port", gripper.port, "--slave", "8")
    said = [line for line in error.splitlines() if line.startswith("tactus: ")]
    assert code != 0 and len(said) == 1 and "gripper 8: it refused" in said[0]
