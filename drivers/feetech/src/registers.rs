//! The register table of STS and SMS servos: what this driver reads and writes, and where it lies.
//!
//! Source: Feetech's memory table for STS and SMS servos as used by LeRobot 0.6 (`motors/feetech/tables.py`). Registers
//! below 40 are EEPROM: they survive power-off, and keep a new value only while [`LOCK`] is 0.

use tactus_drivers_api::registers;
use tactus_drivers_api::servo::{Register, ServoModel};

registers! {
    /// Firmware, major and minor.
    FIRMWARE = 0, 2;
    /// Model: 777 is an STS3215.
    MODEL = 3, 2;
    /// Id on the bus.
    ID = 5, 1;
    /// Index into [`BAUDS`].
    BAUD_RATE = 6, 1;
    /// Pause before a reply, 2 us each.
    RETURN_DELAY = 7, 1;
    /// Smallest goal, ticks.
    MIN_POSITION = 9, 2;
    /// Largest goal, ticks.
    MAX_POSITION = 11, 2;
    /// It protects itself above, degrees Celsius.
    MAX_TEMPERATURE = 13, 1;
    /// It complains above, 0.1 V.
    MAX_VOLTAGE = 14, 1;
    /// It complains below, 0.1 V.
    MIN_VOLTAGE = 15, 1;
    /// Largest torque, 0.1 %.
    MAX_TORQUE = 16, 2;
    /// Bit 4: position counts over several turns.
    PHASE = 18, 1;
    /// Proportional gain.
    P_GAIN = 21, 1;
    /// Derivative gain.
    D_GAIN = 22, 1;
    /// Integral gain.
    I_GAIN = 23, 1;
    /// It protects itself above, 6.5 mA each.
    PROTECTION_CURRENT = 28, 2;
    /// Present position = encoder - this, ticks.
    HOMING_OFFSET = 31, 2, sign 11;
    /// 0 is position control.
    OPERATING_MODE = 33, 1;
    /// It weakens itself above, %.
    OVERLOAD_TORQUE = 36, 1;
    /// 1 holds, 0 is limp. 128 redefines the middle: never written here.
    TORQUE_ENABLE = 40, 1;
    /// Acceleration of its own ramp, 100 ticks/s^2 each; 254 leaves the ramp to us.
    ACCELERATION = 41, 1;
    /// Where it goes, ticks.
    GOAL_POSITION = 42, 2, sign 15;
    /// Speed of its own ramp, ticks/s; 0 is none.
    GOAL_VELOCITY = 46, 2, sign 15;
    /// Torque that it may use now, 0.1 %.
    TORQUE_LIMIT = 48, 2;
    /// 0 lets EEPROM be written.
    LOCK = 55, 1;
    /// Where it is, ticks.
    PRESENT_POSITION = 56, 2, sign 15;
    /// How fast, ticks/s.
    PRESENT_VELOCITY = 58, 2, sign 15;
    /// Duty of its motor, 0.1 %.
    PRESENT_LOAD = 60, 2, sign 10;
    /// Supply, 0.1 V.
    PRESENT_VOLTAGE = 62, 1;
    /// Degrees Celsius.
    PRESENT_TEMPERATURE = 63, 1;
    /// Bounds the ramp, 100 ticks/s^2 each.
    MAX_ACCELERATION = 85, 1;
}

/// The servo that SO-100 and SO-101 are made of.
pub const STS3215: ServoModel = ServoModel {
    number: 777,
    name: "STS3215",
};
/// Bits per second, by the value of [`BAUD_RATE`].
pub const BAUDS: [u32; 8] = [
    1_000_000, 500_000, 250_000, 128_000, 115_200, 57_600, 38_400, 19_200,
];

/// Whether `register` survives power-off.
pub fn is_eeprom(register: Register) -> bool {
    register.address < TORQUE_ENABLE.address || register.address >= 80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_nothing_overlaps() {
        for pair in TABLE.windows(2) {
            assert!(
                pair[0].address + u16::from(pair[0].bytes) <= pair[1].address,
                "{pair:?}"
            );
        }
    }

    #[test]
    fn values_are_taken_from_and_made_into_bytes() {
        let data = [0x0C, 0x08, 0x00];
        assert_eq!(HOMING_OFFSET.get(&data, 31), Some(-12));
        assert_eq!(HOMING_OFFSET.get(&data, 30), Some(8));
        assert_eq!(HOMING_OFFSET.get(&data, 32), None);
        assert_eq!(HOMING_OFFSET.bytes_of(-12), Some([0x0C, 0x08, 0, 0]));
        assert_eq!(TORQUE_ENABLE.bytes_of(256), None);
        assert_eq!(GOAL_POSITION.bytes_of(2047), Some([0xFF, 0x07, 0, 0]));
    }
}
