//! Of the words for what actions are: every representation opens, and what contradicts itself is named.

use tactus_bundle::{Anchor, BinaryGripper, Bundle, Representation, Rotation, Tool, WayFrame};

use crate::{STATS, refusal, refusal_with, write};

/// The manifest with tool poses for actions: three numbers of a rotation, seven columns.
fn with_tool(manifest: &str, representation: &str, tool: &str) -> String {
    let representation = format!("representation = \"{representation}\"");
    let tool = format!("[action.tool]\n{tool}\n\n[denoise]");
    manifest
        .replacen("representation = \"relative_joints\"", &representation, 1)
        .replacen("width = 3", "width = 7", 1)
        .replacen("[denoise]", &tool, 1)
}

const TOOL: &str = "base_link = \"base\"\ntool_link = \"tip\"\nrotation = \"rotation_vector\"";

const TOOL_STATS: &str = r#"{"state": {"mean": [0.1, 0.2, 0.5], "std": [1, 2, 0.3]},
 "action": {"mean": [0, 0, 0, 0, 0, 0, 0.5], "std": [1, 1, 1, 1, 1, 1, 0.5]}}"#;

#[test]
fn every_representation_opens() {
    let joints = [
        ("relative_joints", Representation::RelativeJoints),
        ("absolute_joints", Representation::AbsoluteJoints),
        ("joint_steps", Representation::JointSteps),
        ("joint_velocities", Representation::JointVelocities),
    ];
    for (word, representation) in joints {
        let dir = write(|m| m.replacen("relative_joints", word, 1), STATS);
        let bundle = Bundle::open(dir.path()).expect("a good bundle");
        let action = &bundle.manifest().action;
        assert_eq!(
            (action.representation, action.columns()),
            (representation, 3)
        );
        assert_eq!((action.anchor, &action.tool), (Anchor::Measured, &None));
    }
    let tools = [
        ("tool_poses", "", Representation::ToolPoses, WayFrame::Base),
        (
            "relative_tool_poses",
            "\nframe = \"base\"",
            Representation::RelativeToolPoses,
            WayFrame::Base,
        ),
        (
            "tool_steps",
            "\nframe = \"tool\"",
            Representation::ToolSteps,
            WayFrame::Tool,
        ),
    ];
    for (word, line, representation, frame) in tools {
        let dir = write(
            |m| with_tool(&m, word, &format!("{TOOL}{line}")),
            TOOL_STATS,
        );
        let bundle = Bundle::open(dir.path()).expect("a good bundle");
        let action = &bundle.manifest().action;
        assert_eq!(
            (action.representation, action.columns()),
            (representation, 7)
        );
        let tool = Tool {
            base_link: "base".into(),
            tool_link: "tip".into(),
            rotation: Rotation::Vector,
            frame,
        };
        assert_eq!(action.tool, Some(tool));
    }
}

#[test]
fn a_rotation_has_as_many_columns_as_its_numbers() {
    for (word, columns) in [
        ("quaternion_xyzw", 8),
        ("quaternion_wxyz", 8),
        ("rotation_vector", 7),
        ("six_columns", 10),
        ("six_rows", 10),
        ("euler_xyz_intrinsic", 7),
        ("euler_xyz_extrinsic", 7),
    ] {
        let tool = TOOL.replace("rotation_vector", word);
        let edit =
            |m: String| with_tool(&m, "tool_poses", &tool).replacen("width = 7", "width = 6", 1);
        let dir = write(edit, TOOL_STATS);
        let says = format!(
            "bundle.toml: field `action.width`: expected at least the {columns} declared columns, got 6"
        );
        assert_eq!(refusal(dir.path()), says, "{word}");
    }
}

#[test]
fn an_anchor_and_a_binary_gripper_are_read() {
    let dir = write(
        |m| {
            m.replacen(
                "normalisation = \"mean_std\"\nhorizon",
                "anchor = \"command\"\nbinary_gripper = { open_above = 0.6, close_below = 0.4 }\n\
                 normalisation = \"mean_std\"\nhorizon",
                1,
            )
        },
        STATS,
    );
    let bundle = Bundle::open(dir.path()).expect("a good bundle");
    let action = &bundle.manifest().action;
    assert_eq!(action.anchor, Anchor::Command);
    let binary = BinaryGripper {
        open_above: 0.6,
        close_below: 0.4,
    };
    assert_eq!(action.binary_gripper, Some(binary));
}

#[test]
fn representations_that_contradict_themselves_are_named() {
    let relative = "representation = \"relative_joints\"";
    for (from, to, says) in [
        (
            relative,
            "representation = \"joints\"",
            "`action.representation`: expected `relative_joints` or `absolute_joints` or `joint_steps` or `joint_velocities` or \
             `tool_poses` or `relative_tool_poses` or `tool_steps`, got `joints`",
        ),
        (
            relative,
            "representation = \"relative_joints\"\nanchor = \"desired\"",
            "`action.anchor`: expected `measured` or `command`, got `desired`",
        ),
        (
            relative,
            "representation = \"absolute_joints\"\nanchor = \"command\"",
            "`action.anchor`: expected none, since `absolute_joints` counts from nothing, got `command`",
        ),
        (
            relative,
            "representation = \"tool_poses\"",
            "`action.tool`: expected base_link, tool_link and rotation of `tool_poses`, got nothing",
        ),
        (
            "[denoise]",
            &format!("[action.tool]\n{TOOL}\n[denoise]"),
            "`action.tool`: expected none, since no tool is in `relative_joints`, got a table",
        ),
        (
            relative,
            "representation = \"relative_joints\"\nbinary_gripper = { open_above = 0.4, close_below = 0.6 }",
            "`action.binary_gripper`: expected 0 <= close_below < open_above <= 1, got 0.6 and 0.4",
        ),
        (
            relative,
            "representation = \"relative_joints\"\nbinary_gripper = { open_above = nan, close_below = 0.6 }",
            "`action.binary_gripper`: expected 0 <= close_below < open_above <= 1, got 0.6 and NaN",
        ),
        (
            "gripper = true\nrepresentation = \"relative_joints\"",
            "gripper = false\nrepresentation = \"relative_joints\"\n\
             binary_gripper = { open_above = 0.6, close_below = 0.4 }",
            "`action.binary_gripper`: expected none, since `action.gripper` is false, got a table",
        ),
    ] {
        assert_eq!(refusal_with(from, to), format!("bundle.toml: field {says}"));
    }
    for (representation, tool, says) in [
        (
            "tool_poses",
            format!("{TOOL}\nframe = \"base\""),
            "`action.tool.frame`: expected none, since `tool_poses` are in the base frame, got `base`",
        ),
        (
            "tool_steps",
            TOOL.into(),
            "`action.tool.frame`: expected `base` or `tool`, in whose axes `tool_steps` go, got nothing",
        ),
        (
            "relative_tool_poses",
            format!("{TOOL}\nframe = \"world\""),
            "`action.tool.frame`: expected `base` or `tool`, got `world`",
        ),
        (
            "tool_poses",
            TOOL.replace("rotation_vector", "matrix"),
            "`action.tool.rotation`: expected `quaternion_xyzw` or `quaternion_wxyz` or `rotation_vector` or `six_columns` or \
             `six_rows` or `euler_xyz_intrinsic` or `euler_xyz_extrinsic`, got `matrix`",
        ),
        (
            "tool_poses",
            TOOL.replace("\"base\"", "\"\""),
            "`action.tool.base_link`: expected a name, got an empty text",
        ),
        (
            "tool_poses",
            TOOL.replace("\"tip\"", "\"\""),
            "`action.tool.tool_link`: expected a name, got an empty text",
        ),
    ] {
        let dir = write(|m| with_tool(&m, representation, &tool), TOOL_STATS);
        assert_eq!(refusal(dir.path()), format!("bundle.toml: field {says}"));
    }
    let dir = write(
        |m| with_tool(&m, "tool_poses", &format!("{TOOL}\nhand = \"left\"")),
        TOOL_STATS,
    );
    assert!(refusal(dir.path()).contains("unknown field `hand`"));
}

#[test]
fn the_gripper_s_column_is_the_last_also_after_a_tool_pose() {
    let stats = TOOL_STATS.replacen(
        "0, 0.5], \"std\": [1, 1, 1, 1, 1, 1, 0.5]",
        "0, 0.5], \"std\": [1, 1, 1, 1, 1, 1, 0.4]",
        1,
    );
    assert_ne!(stats, TOOL_STATS);
    let dir = write(|m| with_tool(&m, "tool_poses", TOOL), &stats);
    let error = refusal(dir.path());
    assert!(
        error.starts_with("stats.json: field `action.{mean, std}[6]`: expected 0..1 "),
        "{error}"
    );
}
