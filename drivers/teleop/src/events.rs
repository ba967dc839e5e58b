//! Input devices as the kernel reports them: buttons, axes, and the axes' ranges.
//!
//! [`Events`] is what [`gamepad`](crate::gamepad) and [`spacemouse`](crate::spacemouse) need of a device, so that they are
//! tested with recorded events; [`Evdev`] is a device node. `evdev` and not `gilrs`, since `gilrs` wants libudev and its
//! headers on the machine that builds, and adds mappings that the kernel's own layout makes unnecessary.
//!
//! Decides which node is meant when none is named. Grabs nothing: other programs see the same events.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evdev::{AbsoluteAxisCode, BusType, EventType, KeyCode, RelativeAxisCode};

use crate::TeleopError;

/// How long what is pushed or pressed counts without any event, where the kernel does not notice at once that a link is lost:
/// a device that falls silent keeps its last deflection. A hand trembles, so that a stick or cap that is held speaks again and
/// again, unless it is at its stop.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// What kind of thing an event is about. Source: `linux/input-event-codes.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A button, 1 pressed, 0 released.
    Key,
    /// An axis that reports where it is.
    Absolute,
    /// An axis that reports a value while it is moved, and never a zero.
    Relative,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub kind: Kind,
    /// Which: a code of `linux/input-event-codes.h`.
    pub code: u16,
    /// Its value.
    pub value: i32,
}

/// An input device.
pub trait Events: Send {
    /// What it calls itself.
    fn name(&self) -> &str;

    /// Whether it ever reports this.
    fn has(&self, kind: Kind, code: u16) -> bool;

    /// Lowest and highest value of an absolute axis.
    fn range(&self, axis: u16) -> Option<[i32; 2]>;

    /// Where an absolute axis was when the device was opened. An axis that has not reported yet says 0, whatever its range.
    fn value(&self, axis: u16) -> Option<i32>;

    /// Whether its link may be lost without the kernel noticing at once: Bluetooth, which waits for up to 20 s. A receiver on
    /// USB looks like a device with a wire.
    fn wireless(&self) -> bool;

    /// Hands over what happened since the last call, and waits for nothing.
    ///
    /// # Errors
    /// [`TeleopError`] when the device is gone.
    fn poll(&mut self, each: &mut dyn FnMut(Event)) -> Result<(), TeleopError>;
}

/// A device node, `/dev/input/event*`.
pub struct Evdev {
    device: evdev::Device,
    path: PathBuf,
    name: String,
    /// Code, lowest and highest value, and where it was at first.
    axes: Vec<(u16, [i32; 2], i32)>,
}

fn error(path: &Path, reason: std::io::Error) -> TeleopError {
    let device = path.to_owned();
    match reason.kind() {
        ErrorKind::PermissionDenied => TeleopError::Permission { device },
        _ => TeleopError::Input { device, reason },
    }
}

impl Evdev {
    /// Opens a node.
    ///
    /// # Errors
    /// [`TeleopError::Permission`], [`TeleopError::Input`].
    pub fn open(path: &Path) -> Result<Self, TeleopError> {
        let opened = (|| {
            // Says why in the system's own words; `evdev` would first try to open it for writing.
            fs::File::open(path)?;
            let device = evdev::Device::open(path)?;
            device.set_nonblocking(true)?;
            let axes = device
                .get_absinfo()?
                .map(|(axis, info)| (axis.0, [info.minimum(), info.maximum()], info.value()))
                .collect();
            Ok((device, axes))
        })();
        let (device, axes) = opened.map_err(|e| error(path, e))?;
        Ok(Self {
            name: device.name().unwrap_or("without a name").to_owned(),
            path: path.into(),
            device,
            axes,
        })
    }

    /// The node at `path`, or the first in `folder` (`/dev/input`), of which `is` holds.
    ///
    /// # Errors
    /// [`TeleopError`]: permission, none of this kind, or the named one is another kind.
    pub fn find(
        path: Option<&Path>,
        folder: &Path,
        expected: (&'static str, &'static str),
        is: impl Fn(&dyn Events) -> bool,
    ) -> Result<Self, TeleopError> {
        let (expected, missing) = expected;
        if let Some(path) = path {
            let found = Self::open(path)?;
            return match is(&found) {
                true => Ok(found),
                false => Err(TeleopError::Kind {
                    device: path.into(),
                    name: found.name,
                    expected,
                    missing,
                }),
            };
        }
        let nodes = fs::read_dir(folder).into_iter().flatten().flatten();
        let number = |path: &PathBuf| -> Option<u32> {
            let name = path.file_name()?.to_str()?;
            name.strip_prefix("event")?.parse().ok()
        };
        let mut nodes: Vec<(u32, PathBuf)> = nodes
            .map(|entry| entry.path())
            .filter_map(|path| Some((number(&path)?, path)))
            .collect();
        nodes.sort();
        let (mut names, mut denied) = (Vec::new(), None);
        for (_, path) in nodes {
            match Self::open(&path) {
                Ok(found) if is(&found) => return Ok(found),
                Ok(other) => names.push(other.name),
                Err(e @ TeleopError::Permission { .. }) => denied = denied.or(Some(e)),
                // A node that went away meanwhile is not the one.
                Err(_) => {}
            }
        }
        Err(denied.unwrap_or(TeleopError::None {
            expected,
            found: match names.is_empty() {
                true => format!("{} has none", folder.display()),
                false => names.join(", "),
            },
        }))
    }
}

impl Events for Evdev {
    fn name(&self) -> &str {
        &self.name
    }

    fn has(&self, kind: Kind, code: u16) -> bool {
        let device = &self.device;
        match kind {
            Kind::Key => device
                .supported_keys()
                .is_some_and(|keys| keys.contains(KeyCode(code))),
            Kind::Absolute => device
                .supported_absolute_axes()
                .is_some_and(|axes| axes.contains(AbsoluteAxisCode(code))),
            Kind::Relative => device
                .supported_relative_axes()
                .is_some_and(|axes| axes.contains(RelativeAxisCode(code))),
        }
    }

    fn range(&self, axis: u16) -> Option<[i32; 2]> {
        let known = self.axes.iter().find(|(code, ..)| *code == axis);
        known.map(|(_, range, _)| *range)
    }

    fn value(&self, axis: u16) -> Option<i32> {
        let known = self.axes.iter().find(|(code, ..)| *code == axis);
        known.map(|(.., value)| *value)
    }

    fn wireless(&self) -> bool {
        self.device.input_id().bus_type() == BusType::BUS_BLUETOOTH
    }

    fn poll(&mut self, each: &mut dyn FnMut(Event)) -> Result<(), TeleopError> {
        let events = match self.device.fetch_events() {
            Ok(events) => events,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(error(&self.path, e)),
        };
        for event in events {
            let kind = match event.event_type() {
                EventType::KEY => Kind::Key,
                EventType::ABSOLUTE => Kind::Absolute,
                EventType::RELATIVE => Kind::Relative,
                _ => continue,
            };
            each(Event {
                kind,
                code: event.code(),
                value: event.value(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod recorded {
    //! Events as a device would report them, and its layout.

    use super::*;

    /// A device that is not there.
    #[derive(Default)]
    pub struct Recorded {
        pub keys: Vec<u16>,
        pub absolute: Vec<(u16, [i32; 2])>,
        pub relative: Vec<u16>,
        /// Where axes were at first; the others have not reported.
        pub values: Vec<(u16, i32)>,
        pub wireless: bool,
        pub events: Vec<Event>,
        pub gone: bool,
    }

    impl Recorded {
        pub fn report(&mut self, kind: Kind, code: u16, value: i32) {
            self.events.push(Event { kind, code, value });
        }
    }

    impl Events for Recorded {
        fn name(&self) -> &str {
            "Recorded"
        }
        fn has(&self, kind: Kind, code: u16) -> bool {
            match kind {
                Kind::Key => self.keys.contains(&code),
                Kind::Absolute => self.range(code).is_some(),
                Kind::Relative => self.relative.contains(&code),
            }
        }
        fn range(&self, axis: u16) -> Option<[i32; 2]> {
            let known = self.absolute.iter().find(|(code, _)| *code == axis);
            known.map(|(_, range)| *range)
        }
        fn value(&self, axis: u16) -> Option<i32> {
            let known = self.values.iter().find(|(code, _)| *code == axis);
            let unheard = self.has(Kind::Absolute, axis).then_some(0);
            known.map(|(_, value)| *value).or(unheard)
        }
        fn wireless(&self) -> bool {
            self.wireless
        }
        fn poll(&mut self, each: &mut dyn FnMut(Event)) -> Result<(), TeleopError> {
            if self.gone {
                let reason = std::io::Error::from_raw_os_error(19);
                return Err(error(Path::new("/dev/input/event7"), reason));
            }
            self.events.drain(..).for_each(each);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: (&str, &str) = ("gamepad", "button BTN_SOUTH");

    fn said(result: Result<Evdev, TeleopError>) -> String {
        result.err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_cannot_be_opened_is_said_in_one_sentence() {
        let none = Evdev::find(None, Path::new("/no/such/folder"), WANTED, |_| true);
        let none = said(none);
        assert!(
            none.contains("no gamepad among the input devices (/no/such/folder has none)"),
            "{none}"
        );
        let missing = said(Evdev::open(Path::new("/dev/input/event4711")));
        assert!(
            missing.contains("/dev/input/event4711") && missing.contains("No such file"),
            "{missing}"
        );
        let denied = std::io::Error::from(ErrorKind::PermissionDenied);
        let denied = error(Path::new("/dev/input/event3"), denied).to_string();
        assert!(denied.contains("join the group `input`"), "{denied}");
        // A file that is no device node.
        assert!(Evdev::open(Path::new("/dev/null")).is_err());
    }
}
