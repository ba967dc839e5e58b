"""ur_rtde (SDU Robotics' client library) on the emulated controller: the emulator is checked before our driver is.

Needs the example `ur_controller`, named by UR_CONTROLLER: `./tests/run` builds it and runs this.
"""

import os
import subprocess
import time

import pytest
from dashboard_client import DashboardClient
from rtde_control import RTDEControlInterface
from rtde_io import RTDEIOInterface
from rtde_receive import RTDEReceiveInterface

HOME = [0.0, -1.57, 1.57, -1.57, -1.57, 0.0]


class Emulator:
    def __init__(self):
        self.process = subprocess.Popen(
            [os.environ["UR_CONTROLLER"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.host = self.process.stdout.readline().strip()

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
def receive(emulator):
    receive = RTDEReceiveInterface(emulator.host)
    yield receive
    receive.disconnect()


def wait(done, seconds=3.0):
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


def test_states_come_at_the_controller_s_rate(receive):
    assert receive.getActualQ() == pytest.approx(HOME)
    assert receive.getRobotMode() == 7 and receive.getSafetyMode() == 1
    assert receive.getRuntimeState() == 1 and receive.getSpeedScaling() == 1.0
    stamps = set()
    began, first = time.monotonic(), receive.getTimestamp()
    while time.monotonic() < began + 2.0:
        stamps.add(receive.getTimestamp())
        time.sleep(0.0005)
    elapsed = time.monotonic() - began
    rate = (max(stamps) - first) / 0.002 / elapsed
    print(f"{rate:.0f} periods/s, {len(stamps) / elapsed:.0f} states/s seen")
    assert 400 < rate <= 510 and len(stamps) > 300 * elapsed


def test_registers_speed_slider_and_outputs_are_set(emulator):
    io = RTDEIOInterface(emulator.host, use_upper_range_registers=True)
    assert io.setSpeedSlider(0.4)
    assert io.setInputIntRegister(43, -7) and io.setInputDoubleRegister(44, 2.5)
    assert io.setStandardDigitalOut(3, True)
    wait(lambda: emulator.say("digital") == "8")
    assert emulator.say("slider") == "0.4"
    assert emulator.say("int 43") == "-7" and emulator.say("double 44") == "2.5"
    receive = RTDEReceiveInterface(emulator.host)
    assert receive.getSpeedScaling() == pytest.approx(0.4)
    receive.disconnect()
    io.disconnect()


def test_a_second_writer_of_a_register_is_refused(emulator):
    first = RTDEIOInterface(emulator.host)
    with pytest.raises(RuntimeError, match="already in use"):
        RTDEIOInterface(emulator.host)
    first.disconnect()


def test_a_protective_stop_is_seen_and_unlocked_after_five_seconds(emulator, receive):
    assert not receive.isProtectiveStopped()
    emulator.say("protective-stop")
    wait(receive.isProtectiveStopped)
    assert receive.getSafetyMode() == 3
    dashboard = DashboardClient(emulator.host)
    dashboard.connect()
    assert "UR5" in dashboard.getRobotModel() and dashboard.polyscopeVersion().startswith("5.12.0")
    assert dashboard.isInRemoteControl() and dashboard.getSerialNumber().isdigit()
    with pytest.raises(Exception, match="5s after occurrence"):
        dashboard.unlockProtectiveStop()
    time.sleep(5.1)
    dashboard.unlockProtectiveStop()
    wait(lambda: not receive.isProtectiveStopped())
    dashboard.disconnect()


def test_its_own_control_program_runs_and_servoj_leads_the_arm(emulator, receive):
    control = RTDEControlInterface(emulator.host)
    assert control.isProgramRunning()
    assert control.moveJ([0.1, *HOME[1:]], 1.0, 1.0)
    assert receive.getActualQ()[0] == pytest.approx(0.1, abs=1e-6)
    target = list(HOME)
    target[0] = 0.1
    for _ in range(250):
        began = control.initPeriod()
        target[1] += 0.0004
        assert control.servoJ(target, 0.5, 0.5, 0.002, 0.1, 300)
        control.waitPeriod(began)
    time.sleep(0.6)
    assert receive.getActualQ()[1] == pytest.approx(target[1], abs=2e-3)
    assert control.servoStop()
    emulator.say("protective-stop")
    wait(receive.isProtectiveStopped)
    # The program is paused some periods after the arm.
    wait(lambda: not control.isProgramRunning())
    control.disconnect()
