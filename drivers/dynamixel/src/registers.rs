//! The register table of Dynamixel X servos: what this driver reads and writes, and where it lies.
//!
//! Source: ROBOTIS e-Manual, control tables of XL330-M077, XL330-M288, XL430-W250, XC430-W150, XM430-W350 and XM540-W270,
//! which agree in these places. Registers below 64 are EEPROM: they survive power-off, and can be written only while torque
//! is off.

use tactus_drivers_api::registers;
use tactus_drivers_api::servo::{Register, ServoModel};

registers! {
    /// Which servo it is: [`XL330_M077`] and so on.
    MODEL_NUMBER = 0, 2;
    /// Firmware.
    FIRMWARE = 6, 1;
    /// Id on the bus.
    ID = 7, 1;
    /// Index of its rate.
    BAUD_RATE = 8, 1;
    /// Pause before a reply, 2 us each.
    RETURN_DELAY = 9, 1;
    /// Bit 0 turns it around; bit 2: profiles in time; bit 3: a goal switches torque on.
    DRIVE_MODE = 10, 1;
    /// [`EXTENDED_POSITION`] or [`CURRENT_POSITION`].
    OPERATING_MODE = 11, 1;
    /// It also obeys, without answering, what this id is told; above 252 none.
    SECONDARY_ID = 12, 1;
    /// Present position = encoder + this, ticks.
    HOMING_OFFSET = 20, 4, twos;
    /// Current that it may use at all, in the model's unit. Not in XL430 and XC430.
    CURRENT_LIMIT = 38, 2;
    /// Largest goal, ticks. In [`EXTENDED_POSITION`] it only records the calibration.
    MAX_POSITION = 48, 4;
    /// Smallest goal, ticks; likewise.
    MIN_POSITION = 52, 4;
    /// Which errors switch its torque off.
    SHUTDOWN = 63, 1;
    /// 1 holds, 0 is limp.
    TORQUE_ENABLE = 64, 1;
    /// What it protects itself from; only a reboot or its power clears it.
    HARDWARE_ERROR_STATUS = 70, 1;
    /// Derivative gain.
    POSITION_D_GAIN = 80, 2;
    /// Integral gain.
    POSITION_I_GAIN = 82, 2;
    /// Proportional gain.
    POSITION_P_GAIN = 84, 2;
    /// It stops when it heard nothing for so long, 20 ms each; 0 is never, -1: it did.
    BUS_WATCHDOG = 98, 1, twos;
    /// Current that it may use now in [`CURRENT_POSITION`].
    GOAL_CURRENT = 102, 2, twos;
    /// Its own ramp; 0 is none.
    PROFILE_ACCELERATION = 108, 4;
    /// Speed of its own ramp; 0 is none.
    PROFILE_VELOCITY = 112, 4;
    /// Where it goes, ticks.
    GOAL_POSITION = 116, 4, twos;
    /// Current in the model's unit; XL430 and XC430 have their load there instead, 0.1 %.
    PRESENT_CURRENT = 126, 2, twos;
    /// How fast, 0.229 turns/min each.
    PRESENT_VELOCITY = 128, 4, twos;
    /// Where it is, ticks.
    PRESENT_POSITION = 132, 4, twos;
    /// Supply, 0.1 V.
    PRESENT_VOLTAGE = 144, 2;
    /// Degrees Celsius.
    PRESENT_TEMPERATURE = 146, 1;
}

/// Position over several turns.
pub const EXTENDED_POSITION: i32 = 4;
/// Position over several turns with no more current than [`GOAL_CURRENT`].
pub const CURRENT_POSITION: i32 = 5;
/// No other id, in [`SECONDARY_ID`].
pub const NO_SECONDARY: i32 = 255;
/// What [`BUS_WATCHDOG`] counts in, milliseconds.
pub const WATCHDOG_MILLIS: u32 = 20;
/// What [`PRESENT_VELOCITY`] counts in, ticks per second: 0.229 turns per minute.
pub const VELOCITY_TICKS_PER_SEC: f64 = 0.229 / 60.0 * 4096.0;
/// Largest homing offset, ticks.
pub const HOMING: i32 = 1_044_479;

macro_rules! models {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        $($(#[$doc])* pub static $name: ServoModel = ServoModel { number: $number, name: $text };)*
        /// Models that this driver knows.
        pub static MODELS: &[&ServoModel] = &[$(&$name),*];
    };
}

models! {
    /// 5 V, of Koch leaders.
    XL330_M077 = 1190, "XL330-M077";
    /// 5 V, of Koch followers.
    XL330_M288 = 1200, "XL330-M288";
    /// 12 V, of Koch followers; says its load instead of its current.
    XL430_W250 = 1060, "XL430-W250";
    /// 12 V; says its load instead of its current.
    XC430_W150 = 1070, "XC430-W150";
    /// 12 V, of ViperX.
    XM430_W350 = 1020, "XM430-W350";
    /// 12 V, of ViperX.
    XM540_W270 = 1120, "XM540-W270";
}

/// What a servo's current registers count in, mA; `None` where it has none.
pub fn current_unit_ma(model: &ServoModel) -> Option<f64> {
    match model.number {
        1190 | 1200 => Some(1.0),
        1020 | 1120 => Some(2.69),
        _ => None,
    }
}

/// Bits per second that the servos can be set to: LeRobot's and Interbotix's first, then the factory's.
pub const BAUDS: [u32; 7] = [
    1_000_000, 57_600, 115_200, 2_000_000, 3_000_000, 4_000_000, 9_600,
];

/// Whether `register` survives power-off.
pub fn is_eeprom(register: Register) -> bool {
    register.address < TORQUE_ENABLE.address
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
    fn a_turn_per_minute_is_a_turn_per_minute() {
        assert!((VELOCITY_TICKS_PER_SEC / 0.229 * 60.0 - 4096.0).abs() < 1e-9);
        assert_eq!(BUS_WATCHDOG.get(&[0xFF], 98), Some(-1));
    }
}
