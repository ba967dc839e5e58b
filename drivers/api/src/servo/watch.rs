//! What servos say of their health, cycle by cycle: what is worth a warning, and what ends the service.
//!
//! A servo protects itself: above its own limits it weakens its motor or lets go, and says so in every reply. Then the arm
//! no longer does what it is told, so the service ends with the servo's name and the arm host holds. Before that come
//! warnings, once each until things are well again. Torque is never switched off from here. Pure.

/// What the bits of a servo's complaints mean.
#[derive(Debug, PartialEq, Eq)]
pub struct AlarmTable {
    /// Bits and what they are called.
    pub names: &'static [(u8, &'static str)],
    /// Those after which a servo no longer does what it is told: it weakens itself, lets go, or cannot measure.
    pub disabling: u8,
    /// The supply is out of its range.
    pub voltage: u8,
}

/// What a servo complains of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarms {
    bits: u8,
    table: &'static AlarmTable,
}

impl Alarms {
    /// These bits of `table`.
    pub const fn new(bits: u8, table: &'static AlarmTable) -> Self {
        Self { bits, table }
    }

    /// Whether there is none.
    pub fn is_none(self) -> bool {
        self.bits == 0
    }

    /// Its bits.
    pub fn bits(self) -> u8 {
        self.bits
    }
}

impl std::fmt::Display for Alarms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.table.names.iter();
        let names: Vec<&str> = names
            .filter(|(bit, _)| self.bits >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect();
        match names.is_empty() {
            true => write!(f, "alarm {:#04x}", self.bits),
            false => f.write_str(&names.join(", ")),
        }
    }
}

/// Warned of from here ..
const HOT_C: f64 = 60.0;
/// .. and again only after it was as cool as this.
const COOL_C: f64 = 55.0;
/// Share of the torque that is warned of when it lasts ..
const STRAINED: f64 = 0.8;
/// .. this long, seconds, ..
const STRAINED_SECS: f64 = 2.0;
/// .. and again only after it was as little as this.
const RELAXED: f64 = 0.6;
/// A complaint counts when it comes in so many replies in a row: a garbled one passes a checksum once in 256 times.
const IN_A_ROW: u32 = 5;

/// What a servo said besides its position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Share of its motor's duty, -1 to 1.
    pub load: f64,
    /// Supply, V.
    pub voltage_v: f64,
    /// Degrees Celsius.
    pub temperature_c: f64,
    /// Its complaints.
    pub alarms: Alarms,
}

/// What follows from a reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finding {
    /// It gets hot, degrees Celsius.
    Hot(f64),
    /// It pushes this share of its torque for seconds.
    Strained(f64),
    /// Its supply is out of its range, V.
    Voltage(f64),
    /// It protects itself, or cannot measure: it no longer does what it is told.
    Disabled(Alarms),
}

impl Finding {
    /// Whether the service ends.
    pub fn ends(&self) -> bool {
        matches!(self, Self::Disabled(_))
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hot(c) => write!(f, "is hot: {c:.0} degrees Celsius"),
            Self::Strained(load) => write!(
                f,
                "pushes with {:.0} % of its torque for {STRAINED_SECS:.0} s: does it press against something?",
                load * 100.0
            ),
            Self::Voltage(v) => write!(f, "has a supply of {v:.1} V, out of its range"),
            Self::Disabled(alarms) => {
                write!(
                    f,
                    "protects itself ({alarms}) and does not do what it is told"
                )
            }
        }
    }
}

/// Watches one servo.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Complaints that were there at the start: the operator knows, and torque may clear them.
    known: u8,
    row: u32,
    hot: bool,
    low: bool,
    strained_secs: f64,
    strained: bool,
}

impl Watch {
    /// A watch on a servo that complains of `known` already.
    pub fn new(known: Alarms) -> Self {
        Self {
            known: known.bits,
            ..Self::default()
        }
    }

    /// What follows from `reading`, `period_secs` after the one before; the worst of it.
    pub fn judge(&mut self, reading: &Reading, period_secs: f64) -> Option<Finding> {
        let Reading {
            load,
            voltage_v,
            temperature_c,
            alarms,
        } = *reading;
        self.known &= alarms.bits;
        let disabling = alarms.bits & alarms.table.disabling & !self.known;
        let disabling = Alarms::new(disabling, alarms.table);
        self.row = if disabling.is_none() { 0 } else { self.row + 1 };
        if self.row >= IN_A_ROW {
            return Some(Finding::Disabled(disabling));
        }
        let was = self.hot;
        self.hot = temperature_c >= if was { COOL_C } else { HOT_C };
        if self.hot && !was {
            return Some(Finding::Hot(temperature_c));
        }
        let was = self.low;
        self.low = alarms.bits & alarms.table.voltage != 0;
        if self.low && !was {
            return Some(Finding::Voltage(voltage_v));
        }
        let load = load.abs();
        self.strained_secs = if load >= STRAINED {
            self.strained_secs + period_secs
        } else {
            0.0
        };
        let was = self.strained;
        self.strained = match was {
            true => load >= RELAXED,
            false => self.strained_secs >= STRAINED_SECS,
        };
        (self.strained && !was).then_some(Finding::Strained(load))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: AlarmTable = AlarmTable {
        names: &[(0, "voltage out of range"), (5, "overload")],
        disabling: 0b10_0000,
        voltage: 1,
    };

    const fn alarms(bits: u8) -> Alarms {
        Alarms::new(bits, &TABLE)
    }

    #[test]
    fn alarms_have_names() {
        assert_eq!(
            alarms(0b10_0001).to_string(),
            "voltage out of range, overload"
        );
        assert_eq!(alarms(0x80).to_string(), "alarm 0x80");
    }

    const FINE: Reading = Reading {
        load: 0.1,
        voltage_v: 7.4,
        temperature_c: 30.0,
        alarms: alarms(0),
    };

    fn judged(watch: &mut Watch, reading: Reading, times: usize) -> Vec<Finding> {
        (0..times)
            .filter_map(|_| watch.judge(&reading, 0.01))
            .collect()
    }

    #[test]
    fn heat_is_said_once_until_it_cooled_down() {
        let mut watch = Watch::default();
        let at = |temperature_c| Reading {
            temperature_c,
            ..FINE
        };
        assert_eq!(judged(&mut watch, at(61.0), 9), [Finding::Hot(61.0)]);
        assert_eq!(judged(&mut watch, at(57.0), 9), []);
        assert_eq!(judged(&mut watch, at(61.0), 9), []);
        assert_eq!(judged(&mut watch, at(54.0), 9), []);
        assert_eq!(judged(&mut watch, at(60.0), 9), [Finding::Hot(60.0)]);
    }

    #[test]
    fn strain_counts_when_it_lasts() {
        let mut watch = Watch::default();
        let at = |load| Reading { load, ..FINE };
        assert_eq!(judged(&mut watch, at(-0.9), 190), []);
        assert_eq!(judged(&mut watch, FINE, 1), []);
        assert_eq!(judged(&mut watch, at(-0.9), 300), [Finding::Strained(0.9)]);
        assert_eq!(judged(&mut watch, at(0.7), 300), []);
        assert_eq!(judged(&mut watch, FINE, 1), []);
        assert_eq!(judged(&mut watch, at(0.9), 300), [Finding::Strained(0.9)]);
    }

    #[test]
    fn a_servo_that_protects_itself_ends_the_service_but_not_for_one_bad_byte() {
        let overload = Reading {
            alarms: alarms(0x20),
            ..FINE
        };
        let mut watch = Watch::default();
        assert_eq!(judged(&mut watch, overload, 4), []);
        assert_eq!(judged(&mut watch, FINE, 1), []);
        let found = judged(&mut watch, overload, 5);
        assert_eq!(found, [Finding::Disabled(alarms(0x20))]);
        assert!(found[0].ends() && found[0].to_string().contains("overload"));
        // Known at the start, it counts only when it comes back.
        let mut watch = Watch::new(alarms(0x20));
        assert_eq!(judged(&mut watch, overload, 50), []);
        assert_eq!(judged(&mut watch, FINE, 1), []);
        assert!(judged(&mut watch, overload, 5)[0].ends());
    }

    #[test]
    fn a_low_supply_is_a_warning() {
        let low = Reading {
            alarms: alarms(1),
            voltage_v: 4.5,
            ..FINE
        };
        let found = judged(&mut Watch::default(), low, 9);
        assert_eq!(found, [Finding::Voltage(4.5)]);
        assert!(!found[0].ends());
    }
}
