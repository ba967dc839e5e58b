//! Whether this user may open what the cell names on this machine: serial ports and video devices.
//!
//! Decides which groups would let them; opens nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use tactus_camera::SourceSpec;

use super::{Finding, Report};
use crate::cell::{Cell, CellDevice, CellGripper, GripperLine};

/// Adds what it finds; nothing for a cell that names none.
pub fn look(report: &mut Report, cell: &Cell) -> anyhow::Result<()> {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let mut fine = Vec::new();
    for (what, node) in nodes(cell) {
        // One that is not there is the driver's to complain of.
        let Ok(about) = std::fs::metadata(&node) else {
            continue;
        };
        let may = access(&node, Access::READ_OK | Access::WRITE_OK).is_ok();
        match judged(what, &node, may, group_of(&groups, about.gid()).as_deref()) {
            Some(finding) => report.add(finding)?,
            None => fine.push(node.display().to_string()),
        }
    }
    if !fine.is_empty() {
        let found = format!("{} may be opened", fine.join(", "));
        report.add(Finding::pass("permissions", found))?;
    }
    Ok(())
}

/// Device nodes that the cell names, and whose they are.
fn nodes(cell: &Cell) -> Vec<(&'static str, PathBuf)> {
    let mut nodes = Vec::new();
    if let Some(CellDevice::Servos(arm)) = &cell.hardware {
        nodes.push(("the arm's port", arm.port.clone()));
    }
    if let Some(CellGripper::Robotiq {
        line: GripperLine::Port(port),
        ..
    }) = &cell.gripper
    {
        nodes.push(("the gripper's port", port.clone()));
    }
    for camera in &cell.cameras {
        if let Some(SourceSpec::V4l2(spec)) = camera.real.as_ref().map(|real| &real.source) {
            nodes.push(("a camera", spec.device.clone()));
        }
    }
    nodes
}

/// Name of group `gid` in the text of `/etc/group`.
fn group_of(groups: &str, gid: u32) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

/// What is wrong with a node that belongs to `group`, if this user may not open it.
fn judged(what: &str, node: &Path, may: bool, group: Option<&str>) -> Option<Finding> {
    if may {
        return None;
    }
    let found = format!("{what}, {}, may not be opened by this user", node.display());
    let (expected, mend) = match group {
        Some(group) if group != "root" => (
            format!("read and write, as group `{group}` has it"),
            format!("sudo usermod -aG {group} $USER, and log in again"),
        ),
        _ => (
            "read and write".to_owned(),
            "a udev rule that gives it to a group of yours (dialout for serial ports, video for cameras)".to_owned(),
        ),
    };
    Some(Finding::fail("permissions", found, mend).expecting(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_a_group_that_this_user_is_not_in_is_named_with_the_group() {
        let groups = "root:x:0:\ndialout:x:20:ada,grace\nvideo:x:44:\n";
        let group = group_of(groups, 20);
        assert_eq!(group.as_deref(), Some("dialout"));
        assert_eq!(group_of(groups, 7), None);
        let port = Path::new("/dev/ttyACM0");
        assert_eq!(judged("the arm's port", port, true, group.as_deref()), None);
        let finding = judged("the arm's port", port, false, group.as_deref()).expect("refused");
        assert!(finding.found.contains("/dev/ttyACM0") && finding.found.contains("arm's port"));
        let mend = finding.mend.expect("a way out");
        assert!(mend.contains("usermod -aG dialout"), "{mend}");
        let rootly = judged("a camera", Path::new("/dev/video0"), false, Some("root"));
        assert!(
            rootly
                .and_then(|f| f.mend)
                .is_some_and(|m| m.contains("udev"))
        );
    }
}
