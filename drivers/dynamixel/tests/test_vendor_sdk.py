"""ROBOTIS's own Python SDK (dynamixel-sdk) on the emulated servos: the emulator is checked before our driver is.

Needs the example `dynamixel_bus`, named by DYNAMIXEL_BUS: `./tests/run` builds it and runs this.
"""

import os
import subprocess
import time

import dynamixel_sdk as dxl
import pytest

MODELS = {1: 1060, 2: 1060, 3: 1200, 4: 1200, 5: 1200, 6: 1200}
ALERT = 0x80


class Emulator:
    def __init__(self, *servos):
        command = [os.environ["DYNAMIXEL_BUS"], *servos]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.path = self.process.stdout.readline().strip()

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def show(self, servo):
        return [int(word) for word in self.say(f"show {servo}").split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait(5)


@pytest.fixture
def emulator():
    emulator = Emulator()
    yield emulator
    emulator.close()


def port_of(emulator):
    port = dxl.PortHandler(emulator.path)
    # The SDK waits for 34 ms, which is little on a machine that has other things to do.
    def patient(length):
        port.packet_start_time = port.getCurrentTime()
        port.packet_timeout = port.tx_time_per_byte * length + 500
    port.setPacketTimeout = patient
    assert port.openPort() and port.setBaudRate(1_000_000)
    return port


@pytest.fixture
def port(emulator):
    port = port_of(emulator)
    yield port
    port.closePort()


handler = dxl.PacketHandler(2.0)


def test_every_servo_answers_a_ping_with_its_model(port):
    for servo, model in MODELS.items():
        assert handler.ping(port, servo) == (model, dxl.COMM_SUCCESS, 0)
    assert handler.ping(port, 7)[1] == dxl.COMM_RX_TIMEOUT
    found, result = handler.broadcastPing(port)
    assert result == dxl.COMM_SUCCESS and {servo: data[0] for servo, data in found.items()} == MODELS


def test_registers_are_read_and_written(port, emulator):
    assert handler.read4ByteTxRx(port, 2, 132) == (2048, dxl.COMM_SUCCESS, 0)
    # Homing offset -12, two's complement: it is added to the position.
    assert handler.write4ByteTxRx(port, 2, 20, (-12) & 0xFFFFFFFF) == (dxl.COMM_SUCCESS, 0)
    assert handler.read4ByteTxRx(port, 2, 132)[0] == 2036
    assert emulator.show(2)[0] == 2036


def test_what_looks_like_a_header_arrives_as_it_was(port):
    # Gains with the bytes FF FF FD 00, stuffed on the line in the reply. (The SDK's own packets leave the extra byte out.)
    assert handler.write2ByteTxRx(port, 2, 80, 0xFFFF) == (dxl.COMM_SUCCESS, 0)
    assert handler.write2ByteTxRx(port, 2, 82, 0x00FD) == (dxl.COMM_SUCCESS, 0)
    assert handler.read4ByteTxRx(port, 2, 80) == (0x00FDFFFF, dxl.COMM_SUCCESS, 0)


def test_eeprom_is_refused_while_torque_is_on(port):
    assert handler.write1ByteTxRx(port, 1, 64, 1) == (dxl.COMM_SUCCESS, 0)
    result, error = handler.write1ByteTxRx(port, 1, 11, 3)
    assert result == dxl.COMM_SUCCESS and error == dxl.ERRNUM_ACCESS
    assert handler.read1ByteTxRx(port, 1, 11)[0] == 4


def test_six_servos_are_written_and_read_at_once_and_get_there(port):
    writer = dxl.GroupSyncWrite(port, handler, 116, 4)
    goals = {servo: 1900 + 20 * servo for servo in MODELS}
    for servo, goal in goals.items():
        handler.write1ByteTxRx(port, servo, 64, 1)
        assert writer.addParam(servo, list(goal.to_bytes(4, "little")))
    assert writer.txPacket() == dxl.COMM_SUCCESS
    reader = dxl.GroupSyncRead(port, handler, 132, 4)
    for servo in goals:
        assert reader.addParam(servo)
    time.sleep(0.2)
    assert reader.txRxPacket() == dxl.COMM_SUCCESS
    time.sleep(0.2)
    assert reader.txRxPacket() == dxl.COMM_SUCCESS
    assert {servo: reader.getData(servo, 132, 4) for servo in goals} == goals


def test_a_bus_watchdog_stops_a_servo_and_refuses_goals_until_it_is_cleared(port, emulator):
    handler.write1ByteTxRx(port, 3, 64, 1)
    handler.write4ByteTxRx(port, 3, 116, 4000)
    assert handler.write1ByteTxRx(port, 3, 98, 2) == (dxl.COMM_SUCCESS, 0)
    time.sleep(0.2)
    assert handler.read1ByteTxRx(port, 3, 98)[0] == 0xFF
    position, torque, goal, watchdog = emulator.show(3)
    assert (torque, goal, watchdog) == (1, 4000, -1) and position < 3900
    result, error = handler.write4ByteTxRx(port, 3, 116, 2000)
    assert result == dxl.COMM_SUCCESS and error == dxl.ERRNUM_DATA_RANGE
    assert handler.write1ByteTxRx(port, 3, 98, 0) == (dxl.COMM_SUCCESS, 0)
    assert handler.write4ByteTxRx(port, 3, 116, position) == (dxl.COMM_SUCCESS, 0)


def test_a_hardware_error_takes_torque_until_a_reboot(port, emulator):
    handler.write1ByteTxRx(port, 4, 64, 1)
    emulator.say("fail 4 32")
    assert handler.read1ByteTxRx(port, 4, 70) == (32, dxl.COMM_SUCCESS, ALERT)
    assert handler.read1ByteTxRx(port, 4, 64)[0] == 0
    assert handler.write1ByteTxRx(port, 4, 64, 1)[1] & ~ALERT == dxl.ERRNUM_ACCESS
    assert handler.reboot(port, 4)[0] == dxl.COMM_SUCCESS
    assert handler.write1ByteTxRx(port, 4, 64, 1) == (dxl.COMM_SUCCESS, 0)


def test_a_shadow_obeys_without_answering():
    emulator = Emulator("2:1120", "3:1120")
    port = port_of(emulator)
    try:
        assert handler.write1ByteTxRx(port, 3, 12, 2) == (dxl.COMM_SUCCESS, 0)
        # One answer: the SDK would call two of them corrupt.
        assert handler.write1ByteTxRx(port, 2, 64, 1) == (dxl.COMM_SUCCESS, 0)
        assert handler.write4ByteTxRx(port, 2, 116, 2100) == (dxl.COMM_SUCCESS, 0)
        time.sleep(0.3)
        assert handler.read4ByteTxRx(port, 3, 132)[0] == 2100
        assert emulator.show(3)[:3] == [2100, 1, 2100]
    finally:
        port.closePort()
        emulator.close()


def test_it_notices_corrupt_and_missing_replies(port, emulator):
    emulator.say("corrupt 1")
    results = {handler.read4ByteTxRx(port, 1, 132)[1] for _ in range(10)}
    assert results <= {dxl.COMM_RX_CORRUPT, dxl.COMM_RX_TIMEOUT}, results
    emulator.say("corrupt 0")
    time.sleep(0.1)
    port.ser.reset_input_buffer()
    emulator.say("unplug 1")
    assert handler.read4ByteTxRx(port, 1, 132)[1] == dxl.COMM_RX_TIMEOUT


def test_another_baud_rate_is_not_understood(port):
    assert port.setBaudRate(115_200)
    assert handler.ping(port, 1)[1] == dxl.COMM_RX_TIMEOUT
    assert port.setBaudRate(1_000_000)
    assert handler.ping(port, 1)[1] == dxl.COMM_SUCCESS
