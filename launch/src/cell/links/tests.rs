use std::fs;
use std::path::Path;

use tactus_types::MAX_URDF_BYTES;

use crate::cell::{Cell, parse};

const UR5E: &str = include_str!("../../../cells/ur5e.toml");
const SO101: &str = include_str!("../../../cells/so101.toml");
const UR: [&str; 6] = [
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "elbow_joint",
    "wrist_1_joint",
    "wrist_2_joint",
    "wrist_3_joint",
];
const SO: [&str; 5] = [
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
];
const NAMED: &str = "urdf = \"arm.urdf\"\nbase_link = \"link_0\"\ntool_link = \"tool\"\n";

/// A straight arm with these joints, each of which turns `lower` to `upper` about y; the shape of every link is `shape`.
fn urdf(joints: &[&str], [lower, upper]: [f64; 2], shape: &str) -> String {
    let link = |name: &str| {
        format!("<link name='{name}'><collision><geometry>{shape}</geometry></collision></link>")
    };
    let mut text = format!("<robot name='r'>{}", link("link_0"));
    for (i, joint) in joints.iter().enumerate() {
        let child = match i + 1 == joints.len() {
            true => "tool".into(),
            false => format!("link_{}", i + 1),
        };
        text += &link(&child);
        text += &format!(
            "<joint name='{joint}' type='revolute'><origin xyz='0 0 0.1'/><parent link='link_{i}'/><child link='{child}'/>\
             <axis xyz='0 1 0'/><limit lower='{lower}' upper='{upper}' effort='1' velocity='1'/></joint>"
        );
    }
    text + "</robot>"
}

const CYLINDER: &str = "<cylinder radius='0.02' length='0.05'/>";

fn ur() -> String {
    urdf(&UR, [-6.2835, 6.2835], CYLINDER)
}

/// The cell `shipped` in `dir`, with `device` in its `[device]` and `arm` in its `[arm]`.
fn cell(dir: &Path, shipped: &str, device: &str, arm: &str) -> Result<Cell, String> {
    let text = shipped.replacen("[device]\n", &format!("[device]\n{device}"), 1);
    let text = text.replacen("[arm]\n", &format!("[arm]\n{arm}"), 1);
    parse(&text, &dir.join("cell.toml")).map_err(|e| e.to_string())
}

#[test]
fn the_three_fields_stand_together_beside_any_arm_and_the_path_is_the_cell_file_s() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    assert_eq!(cell(dir, UR5E, "", "").expect("legal").links, None);
    for (lines, given) in [
        ("urdf = \"arm.urdf\"\n", "got urdf"),
        (
            "base_link = \"link_0\"\ntool_link = \"tool\"\n",
            "got base_link, tool_link",
        ),
    ] {
        let refused = cell(dir, UR5E, lines, "").expect_err("not all of them");
        assert!(
            refused.contains("`device.urdf`: expected `urdf`, `base_link` and `tool_link`")
                && refused.ends_with(given),
            "{refused}"
        );
    }
    for shipped in [
        UR5E,
        SO101,
        include_str!("../../../cells/koch.toml"),
        include_str!("../../../cells/fr3.toml"),
        include_str!("../../../cells/fr3-node.toml"),
        include_str!("../../../cells/ros2.toml"),
    ] {
        let links = cell(dir, shipped, NAMED, "").expect("legal").links;
        assert_eq!(links.expect("there").urdf, dir.join("arm.urdf"));
    }

    let cell = cell(dir, UR5E, NAMED, "").expect("the URDF is read where the arm is served");
    let refused = cell.geometry().expect_err("no file").to_string();
    assert!(
        refused.contains("`device.urdf`: expected a URDF that can be read, got ")
            && refused.contains("arm.urdf"),
        "{refused}"
    );
    fs::write(dir.join("arm.urdf"), " ".repeat(MAX_URDF_BYTES + 1)).expect("written");
    let refused = cell.geometry().expect_err("too large").to_string();
    assert!(
        refused.contains("expected at most 262144 bytes"),
        "{refused}"
    );
    fs::write(dir.join("arm.urdf"), ur()).expect("written");
    let geometry = cell.geometry().expect("fits").expect("there");
    assert_eq!(geometry.urdf, ur());
    assert_eq!(
        (geometry.base_link.as_str(), geometry.tool_link.as_str()),
        ("link_0", "tool")
    );
}

#[test]
fn a_urdf_of_another_arm_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let cell = cell(dir, UR5E, NAMED, "").expect("legal");
    let mut renamed = UR;
    renamed[2] = "elbow";
    let slides = ur().replacen("'revolute'", "'prismatic'", 1);
    for (text, wanted) in [
        (
            urdf(&renamed, [-6.3, 6.3], CYLINDER),
            "shoulder_lift_joint, elbow_joint, wrist_1_joint, wrist_2_joint, wrist_3_joint (rename them in the URDF), got \
             URDF: joint `elbow`",
        ),
        (urdf(&UR[..5], [-6.3, 6.3], CYLINDER), "rename them"),
        (
            ur().replace("'tool'", "'flange'"),
            "expected a URDF of this arm, with `base_link` and `tool_link`, got URDF: link `tool`",
        ),
        ("no XML".into(), "expected a URDF of this arm"),
        (
            slides,
            "expected joint `shoulder_pan_joint` to turn, as the arm's does, got one that slides",
        ),
        (
            urdf(&UR, [-3.2, 6.3], CYLINDER),
            "expected the range of joint `shoulder_pan_joint` to contain the arm's, -6.283 to 6.283 rad, got -3.200 to \
             6.300 rad",
        ),
    ] {
        fs::write(dir.join("arm.urdf"), text).expect("written");
        let refused = cell.geometry().expect_err(wanted).to_string();
        assert!(
            refused.contains("`device.urdf`: ") && refused.contains(wanted),
            "{refused}"
        );
    }
}

#[test]
fn the_range_of_calibrated_servos_only_has_to_overlap_the_urdf_s() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let servo = |(i, name): (usize, &&str)| {
        format!(
            r#""{name}": {{"id": {}, "drive_mode": 0, "homing_offset": 0, "range_min": 1000, "range_max": 3000}}"#,
            i + 1
        )
    };
    let motors = SO.iter().chain(&["gripper"]).enumerate().map(servo);
    let motors: Vec<String> = motors.collect();
    let cell = cell(dir, SO101, NAMED, "").expect("legal");
    fs::write(dir.join("arm.urdf"), urdf(&SO, [-1.2, 2.0], CYLINDER)).expect("written");
    let refused = cell.geometry().expect_err("no calibration").to_string();
    assert!(refused.contains("so101.json"), "{refused}");
    fs::write(dir.join("so101.json"), format!("{{{}}}", motors.join(", "))).expect("written");
    assert!(cell.geometry().expect("fits").is_some());
    fs::write(dir.join("arm.urdf"), urdf(&SO, [1.6, 4.0], CYLINDER)).expect("written");
    let refused = cell.geometry().expect_err("another zero").to_string();
    assert!(
        refused.contains("the range of joint `shoulder_pan` to overlap the arm's, -1.53"),
        "{refused}"
    );
}

#[test]
fn links_that_the_file_describes_are_kept_apart_only_where_it_says_so() {
    const MESH: &str = "<mesh filename='package://arm/link.stl'/>";
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let with = |arm: &str, shape: &str| {
        fs::write(dir.join("arm.urdf"), urdf(&UR, [-6.3, 6.3], shape)).expect("written");
        let cell = cell(dir, UR5E, NAMED, arm).expect("legal");
        let mut info = tactus_ur::model::info(tactus_ur::Model::Ur5e, 500);
        info.geometry = cell.geometry().map_err(|e| e.to_string())?;
        let guard = cell.arm_spec(1, &info).map_err(|e| e.to_string())?.guard;
        Ok::<_, String>((guard, cell.says_of_space()))
    };
    let space = "workspace = { min = [-1, -1, -1], max = [1, 1, 1] }\n";
    // Meshes, as makers' URDFs have them, are in nobody's way.
    let (guard, said) = with("", MESH).expect("legal");
    assert_eq!(guard, None);
    assert!(
        said.contains("no box") && said.contains("not kept apart"),
        "{said}"
    );
    let (boxed, said) = with(space, MESH).expect("legal");
    assert!(boxed.is_some() && said.contains("stays in"), "{said}");
    let refused = with("self_collision = true\n", MESH).expect_err("meshes");
    assert!(
        refused.contains("link.stl") && refused.contains("arm.leave_out"),
        "{refused}"
    );
    let (both, said) = with(&format!("{space}self_collision = true\n"), CYLINDER).expect("legal");
    assert!(both != boxed && said.ends_with("are kept apart"), "{said}");
}
