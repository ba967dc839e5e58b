"""Feetech's own Python SDK (feetech-servo-sdk) on the emulated servos: the emulator is checked before our driver is.

Needs the example `servo_bus`, named by SERVO_BUS: `./tests/run` builds it and runs this.
"""

import os
import subprocess
import time

import pytest
import scservo_sdk as scs


class Emulator:
    def __init__(self, *ids):
        command = [os.environ["SERVO_BUS"], *map(str, ids)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.path = self.process.stdout.readline().strip()

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.stdin.close()
        self.process.wait(5)


@pytest.fixture
def emulator():
    emulator = Emulator()
    yield emulator
    emulator.close()


@pytest.fixture
def port(emulator):
    port = scs.PortHandler(emulator.path)
    # The SDK on PyPI waits for less than the adapter's latency timer; LeRobot mends it in the same way.
    def patient(length):
        port.packet_start_time = port.getCurrentTime()
        port.packet_timeout = port.tx_time_per_byte * (length + 3) + 500
    port.setPacketTimeout = patient
    assert port.openPort() and port.setBaudRate(1_000_000)
    yield port
    port.closePort()


handler = scs.PacketHandler(0)


def test_every_servo_answers_a_ping_with_its_model(port):
    for servo in range(1, 7):
        assert handler.ping(port, servo) == (777, scs.COMM_SUCCESS, 0)
    assert handler.ping(port, 7)[1] == scs.COMM_RX_TIMEOUT


def test_registers_are_read_and_written(port, emulator):
    assert handler.read2ByteTxRx(port, 2, 56) == (2047, scs.COMM_SUCCESS, 0)
    assert handler.write1ByteTxRx(port, 2, 55, 0) == (scs.COMM_SUCCESS, 0)
    # Homing offset -12, sign in bit 11: the position that is seen grows by 12.
    assert handler.write2ByteTxRx(port, 2, 31, 0x80C) == (scs.COMM_SUCCESS, 0)
    assert handler.read2ByteTxRx(port, 2, 31)[0] == 0x80C
    assert handler.read2ByteTxRx(port, 2, 56)[0] == 2059
    assert emulator.say("show 2") == "2059 0 -12"


def test_six_servos_are_written_and_read_at_once_and_get_there(port):
    writer = scs.GroupSyncWrite(port, handler, 42, 2)
    goals = {servo: 1900 + 20 * servo for servo in range(1, 7)}
    for servo, goal in goals.items():
        handler.write1ByteTxRx(port, servo, 40, 1)
        assert writer.addParam(servo, [scs.SCS_LOBYTE(goal), scs.SCS_HIBYTE(goal)])
    assert writer.txPacket() == scs.COMM_SUCCESS
    reader = scs.GroupSyncRead(port, handler, 56, 4)
    for servo in goals:
        assert reader.addParam(servo)
    time.sleep(0.2)
    assert reader.txRxPacket() == scs.COMM_SUCCESS
    time.sleep(0.2)
    assert reader.txRxPacket() == scs.COMM_SUCCESS
    assert {servo: reader.getData(servo, 56, 2) for servo in goals} == goals


def test_a_registered_write_waits_for_its_action(port):
    handler.write1ByteTxRx(port, 3, 40, 1)
    assert handler.regWriteTxRx(port, 3, 42, 2, [0x00, 0x08])[0] == scs.COMM_SUCCESS
    assert handler.read2ByteTxRx(port, 3, 42)[0] == 2047
    handler.action(port, scs.BROADCAST_ID)
    assert handler.read2ByteTxRx(port, 3, 42)[0] == 2048


def test_it_notices_corrupt_and_missing_replies(port, emulator):
    emulator.say("corrupt 1")
    results = {handler.read2ByteTxRx(port, 1, 56)[1] for _ in range(10)}
    assert results <= {scs.COMM_RX_CORRUPT, scs.COMM_RX_TIMEOUT}, results
    emulator.say("corrupt 0")
    time.sleep(0.1)
    port.ser.reset_input_buffer()
    emulator.say("unplug 1")
    assert handler.read2ByteTxRx(port, 1, 56)[1] == scs.COMM_RX_TIMEOUT


def test_another_baud_rate_is_not_understood(port):
    assert port.setBaudRate(115_200)
    assert handler.ping(port, 1)[1] == scs.COMM_RX_TIMEOUT
    assert port.setBaudRate(1_000_000)
    assert handler.ping(port, 1)[1] == scs.COMM_SUCCESS
