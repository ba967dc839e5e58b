use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;
use tactus_bundle::{Alignment, Anchor, Normalisation};
use tactus_types::{ArmGeometry, JointLimits};

use super::*;

const URDF: &str = include_str!("../../../../drivers/sim/assets/arm.urdf");
/// By `models/vla/tests/data/make.py`: Pinocchio 4.1.0 and scipy 1.17.1.
const GOLDEN: &str = include_str!("../../tests/data/represent.json");
const PERIOD: Duration = Duration::from_millis(50);
/// Names and ranges, rad, of the simulated arm's joints.
const JOINTS: [(&str, [f64; 2]); 6] = [
    ("base_yaw", [-2.6, 2.6]),
    ("shoulder_pitch", [-1.3, 2.0]),
    ("elbow_pitch", [-0.2, 2.75]),
    ("forearm_roll", [-2.8, 2.8]),
    ("wrist_pitch", [-2.0, 2.0]),
    ("wrist_roll", [-2.8, 2.8]),
];
/// Away from singularities and from the ends of the joints.
const ANCHOR: [f64; 6] = [0.4, 0.35, 1.5, 0.6, 0.9, -0.7];
const REPRESENTATIONS: [Representation; 7] = [
    Representation::RelativeJoints,
    Representation::AbsoluteJoints,
    Representation::JointSteps,
    Representation::JointVelocities,
    Representation::ToolPoses,
    Representation::RelativeToolPoses,
    Representation::ToolSteps,
];
const ROTATIONS: [Rotation; 7] = [
    Rotation::QuaternionXyzw,
    Rotation::QuaternionWxyz,
    Rotation::Vector,
    Rotation::SixColumns,
    Rotation::SixRows,
    Rotation::EulerIntrinsic,
    Rotation::EulerExtrinsic,
];

#[derive(Deserialize)]
struct Golden {
    period_s: f64,
    anchor: Vec<f64>,
    rows: Vec<GoldenRow>,
    cases: Vec<GoldenCase>,
}

#[derive(Deserialize)]
struct GoldenRow {
    q: Vec<f64>,
    tip: [f64; 7],
}

#[derive(Deserialize)]
struct GoldenCase {
    representation: String,
    rotation: Option<String>,
    frame: Option<String>,
    numbers: Vec<Vec<f64>>,
}

fn vec(q: &[f64]) -> JointVec {
    JointVec::from_slice(q).expect("few joints")
}

fn names() -> Vec<String> {
    JOINTS.map(|(name, _)| name.to_owned()).to_vec()
}

fn info() -> ArmInfo {
    let limits = |(_, [lower, upper]): (&str, [f64; 2])| JointLimits {
        lower,
        upper,
        velocity: 4.0,
        acceleration: 20.0,
        jerk: 400.0,
    };
    ArmInfo {
        model: "tactus-sim-6".into(),
        joints: names(),
        limits: JOINTS.map(limits).to_vec(),
        gripper: true,
        state_rate_hz: 500.0,
        brakes: true,
        torque_switch: false,
        command_deadline_secs: 0.1,
        geometry: Some(ArmGeometry {
            urdf: URDF.into(),
            base_link: "base".into(),
            tool_link: "tip".into(),
            workspace: None,
        }),
    }
}

/// Tip poses of the simulated arm.
fn tool(rotation: Rotation, frame: WayFrame) -> Tool {
    Tool {
        base_link: "base".into(),
        tool_link: "tip".into(),
        rotation,
        frame,
    }
}

fn action(representation: Representation, tool: Option<Tool>) -> Action {
    Action {
        joints: names(),
        gripper: false,
        binary_gripper: None,
        representation,
        anchor: Anchor::Measured,
        tool: tool.filter(|_| representation.is_tool()),
        normalisation: Normalisation::MeanStd,
        horizon: 16,
        period: PERIOD,
        first_action_offset: PERIOD,
        alignment: Alignment::StateAtImage,
        max_prefix: 0,
        max_feature_age: std::time::Duration::ZERO,
        width: 32,
    }
}

fn represent(representation: Representation, rotation: Rotation, frame: WayFrame) -> Represent {
    let action = action(representation, Some(tool(rotation, frame)));
    Represent::new(&action, &names(), Some(&info())).expect("it is the arm's")
}

fn inverse(represent: &Represent) -> &Inverse {
    let tool = represent.tool.as_ref().expect("a tool");
    tool.inverse.as_ref().expect("an arm")
}

fn distance(a: &JointVec, b: &JointVec) -> f64 {
    a.zip(b, |a, b| a - b).max_abs()
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let both = a.iter().zip(b);
    both.fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

fn each<T: Copy>(words: &[(&str, T)], word: &str) -> T {
    let known = words.iter().find(|(known, _)| *known == word);
    known.unwrap_or_else(|| panic!("{word}")).1
}

#[test]
fn numbers_are_those_of_pinocchio_and_scipy_both_ways() {
    let golden: Golden = serde_json::from_str(GOLDEN).expect("golden values");
    assert_eq!(golden.period_s, PERIOD.as_secs_f64());
    let arm = JOINTS.map(|(name, _)| name);
    let chain = Chain::from_urdf(URDF, "base", "tip", &arm).expect("its URDF");
    let mut seen = 0;
    for case in &golden.cases {
        let representation = each(
            &REPRESENTATIONS.map(|r| (r.word(), r)),
            &case.representation,
        );
        let rotation = case.rotation.as_deref().unwrap_or("rotation_vector");
        let rotation = each(&ROTATIONS.map(|r| (r.word(), r)), rotation);
        let frames = [("base", WayFrame::Base), ("tool", WayFrame::Tool)];
        let frame = each(&frames, case.frame.as_deref().unwrap_or("base"));
        let represent = represent(representation, rotation, frame);
        let of = format!("{representation:?} {rotation:?} {frame:?}");
        let mut there = represent.walk(vec(&golden.anchor)).expect("an arm");
        let mut back = there.clone();
        for (row, numbers) in golden.rows.iter().zip(&case.numbers) {
            let mut ours = vec![f64::NAN; represent.columns()];
            back.values(&vec(&row.q), &mut ours).expect("its columns");
            assert!(apart(&ours, numbers) < 1e-9, "{of}: {ours:?} {numbers:?}");

            let q = there.action(numbers).expect("within reach");
            assert!(distance(&q, &vec(&row.q)) < 1e-5, "{of}: {q:?}");
            let tip = chain.forward(&q);
            assert!(
                apart(tip.translation.vector.as_slice(), &row.tip[..3]) < 1e-6,
                "{of}"
            );
            let turn = RotationFormat::QuaternionXyzw
                .read(&row.tip[3..])
                .expect("a rotation");
            assert!(tip.rotation.angle_to(&turn) < 1e-6, "{of}");
        }
        seen += case.numbers.len();
    }
    assert_eq!(seen, 3 * (4 + 5 * 7), "every format in every frame");
}

#[test]
fn joints_are_found_by_name_whatever_their_order() {
    let mut arm = names();
    arm.reverse();
    let mut info = info();
    info.joints.reverse();
    info.limits.reverse();
    let backwards = |q: &JointVec| JointVec::from_fn(q.len(), |i| q[q.len() - 1 - i]);
    for representation in REPRESENTATIONS {
        let straight = represent(representation, Rotation::Vector, WayFrame::Tool);
        let action = action(representation, Some(tool(Rotation::Vector, WayFrame::Tool)));
        let reversed = Represent::new(&action, &arm, Some(&info)).expect("the same joints");
        let target = vec(&ANCHOR.map(|q| q + 0.03));
        let mut values = vec![0.0; straight.columns()];
        let mut walk = straight.walk(vec(&ANCHOR)).expect("an arm");
        walk.values(&target, &mut values).expect("its columns");
        let mut walk = reversed.walk(backwards(&vec(&ANCHOR))).expect("an arm");
        let q = walk.action(&values).expect("within reach");
        assert!(
            distance(&backwards(&q), &target) < 1e-5,
            "{representation:?}: {q:?}"
        );
    }
}

#[test]
fn a_pose_out_of_reach_is_an_error_that_says_how_far() {
    let of = represent(
        Representation::ToolPoses,
        Rotation::QuaternionXyzw,
        WayFrame::Base,
    );
    let says = |numbers: &[f64]| {
        let mut walk = of.walk(vec(&ANCHOR)).expect("an arm");
        let error = walk.action(numbers).expect_err("nowhere");
        assert_eq!(walk.before, vec(&ANCHOR), "the walk stays where it is");
        error
    };
    let far = says(&[2.0, 0.0, 0.2, 1.0, 0.0, 0.0, 0.0]);
    // Stretched out, the tip is 0.67 m from the shoulder.
    let RepresentError::OutOfReach { residual_m, .. } = far else {
        panic!("{far:?}");
    };
    assert!((1.2..1.5).contains(&residual_m), "{residual_m}");
    assert!(far.to_string().contains("[2.000, 0.000, 0.200] m"), "{far}");
    let beyond = says(&[f64::MAX, 0.0, 0.2, 1.0, 0.0, 0.0, 0.0]);
    assert!(
        matches!(beyond, RepresentError::OutOfReach { .. }),
        "{beyond:?}"
    );
    let no_rotation = says(&[0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 0.0]);
    assert!(
        matches!(no_rotation, RepresentError::Rotation(_)),
        "{no_rotation:?}"
    );
    for short in [&[][..], &[0.3], &[0.3, 0.0, 0.2], &[0.3, 0.0, 0.2, 1.0]] {
        assert!(
            matches!(says(short), RepresentError::Rotation(_)),
            "{short:?}"
        );
    }
}

#[test]
fn a_way_into_a_singularity_is_slowed_down_and_at_its_end_an_error() {
    let of = represent(Representation::ToolPoses, Rotation::SixRows, WayFrame::Base);
    // With the wrist straight the axes of both rolls are one.
    let at = |wrist: f64| vec(&[0.4, 0.35, 1.5, 0.6, wrist, -0.7]);
    let towards = |from: f64, to: f64| {
        let mut numbers = vec![0.0; of.columns()];
        let mut walk = of.walk(at(from)).expect("an arm");
        walk.clone()
            .values(&at(to), &mut numbers)
            .expect("its columns");
        walk.action(&numbers)
    };
    let condition = |wrist| inverse(&of).condition(&at(wrist));
    let (slow, stop) = (0.3, 0.1);
    assert!(
        (17.0..30.0).contains(&condition(slow)),
        "{}",
        condition(slow)
    );
    assert!(condition(stop) > 30.0);
    let q = towards(0.6, slow).expect("slower");
    assert!(slow + 0.05 < q[4] && q[4] < 0.55, "{q:?}");
    let error = towards(0.3, stop).expect_err("singular");
    assert!(
        matches!(error, RepresentError::Singular { .. }),
        "{error:?}"
    );
    // Out of it the arm may go.
    let q = towards(stop, 0.3).expect("out");
    assert!((q[4] - 0.3).abs() < 0.01, "{q:?}");
}

#[test]
fn steps_that_were_slowed_down_are_caught_up_with() {
    let of = represent(Representation::ToolSteps, Rotation::Vector, WayFrame::Tool);
    let at = |wrist: f64| vec(&[0.4, 0.35, 1.5, 0.6, wrist, -0.7]);
    let rows = [0.45, 0.3, 0.45, 0.6].map(at);
    let mut numbers = vec![0.0; of.columns()];
    let mut back = of.walk(at(0.6)).expect("an arm");
    let mut walk = back.clone();
    let mut missed = Vec::new();
    for row in &rows {
        back.values(row, &mut numbers).expect("its columns");
        missed.push(distance(&walk.action(&numbers).expect("reached"), row));
    }
    assert!(missed[1] > 0.02, "{missed:?}");
    assert!(missed[3] < 1e-3, "{missed:?}");
}

#[test]
fn without_an_arm_poses_lead_nowhere_and_joints_as_ever() {
    for representation in REPRESENTATIONS {
        let action = action(representation, Some(tool(Rotation::Vector, WayFrame::Base)));
        let of = Represent::new(&action, &names(), None).expect("nothing is missing yet");
        let walk = of.walk(vec(&ANCHOR));
        assert_eq!(
            walk.err(),
            representation.is_tool().then_some(RepresentError::NoArm)
        );
    }
}

#[test]
fn an_arm_that_does_not_describe_the_frames_is_refused() {
    let refusal = |edit: &dyn Fn(&mut Tool, &mut ArmInfo)| {
        let (mut tool, mut info) = (tool(Rotation::Vector, WayFrame::Base), info());
        edit(&mut tool, &mut info);
        let action = action(Representation::ToolSteps, Some(tool));
        let made = Represent::new(&action, &names(), Some(&info));
        made.expect_err("refused").to_string()
    };
    assert_eq!(
        refusal(&|_, info| info.geometry = None),
        "bundle.toml: field `action.representation`: `tool_steps` needs an arm whose info describes its links (URDF), got none"
    );
    let error = refusal(&|tool, _| tool.tool_link = "flange".into());
    assert!(
        error.starts_with("bundle.toml: field `action.tool`: ") && error.contains("flange"),
        "{error}"
    );
    let error = refusal(&|tool, _| tool.tool_link = "wrist".into());
    assert!(
        error.contains("wrist_roll"),
        "a joint that does not move it: {error}"
    );
}

proptest! {
    /// A chunk of joints, written and read again.
    #[test]
    fn joints_to_numbers_and_back_is_the_identity(
        anchor in prop::array::uniform6(-2.0..2.0),
        rows in prop::collection::vec(prop::array::uniform6(-2.0..2.0), 1..6),
    ) {
        for representation in REPRESENTATIONS.into_iter().filter(|r| !r.is_tool()) {
            let of = represent(representation, Rotation::Vector, WayFrame::Base);
            let mut back = of.walk(vec(&anchor)).expect("joints");
            let mut there = back.clone();
            let mut numbers = vec![0.0; of.columns()];
            for row in &rows {
                back.values(&vec(row), &mut numbers).expect("its columns");
                let q = there.action(&numbers).expect("joints");
                prop_assert!(distance(&q, &vec(row)) < 1e-12, "{representation:?}");
            }
        }
    }

    /// A chunk of tool poses: numbers to joints and back are the same numbers, in every format and frame.
    #[test]
    fn numbers_to_joints_and_back_is_the_identity(
        off in prop::array::uniform6(-0.2..0.2),
        steps in prop::collection::vec(prop::array::uniform6(-0.05..0.05), 1..4),
        representation in prop::sample::select(&REPRESENTATIONS[4..]),
        rotation in prop::sample::select(&ROTATIONS[..]),
        frame in prop::sample::select(&[WayFrame::Base, WayFrame::Tool][..]),
    ) {
        let of = represent(representation, rotation, frame);
        let anchor = vec(&ANCHOR).zip(&vec(&off), |q, off| q + off);
        let mut made = of.walk(anchor).expect("an arm");
        let (mut there, mut back) = (made.clone(), made.clone());
        let mut q = anchor;
        let (mut numbers, mut again) = (vec![0.0; of.columns()], vec![0.0; of.columns()]);
        for step in &steps {
            q = q.zip(&vec(step), |q, step| q + step);
            prop_assume!(inverse(&of).condition(&q) < 16.0);
            made.values(&q, &mut numbers).expect("its columns");
            let reached = there.action(&numbers).expect("within reach");
            back.values(&reached, &mut again).expect("its columns");
            prop_assert!(apart(&numbers, &again) < 1e-5, "{numbers:?} {again:?}");
        }
    }

    /// Whatever a policy says: joints inside the arm's limits, or an error.
    #[test]
    fn any_numbers_give_joints_inside_the_limits_or_an_error(
        numbers in prop::collection::vec(prop::num::f64::ANY, 9),
        small in prop::bool::ANY,
    ) {
        let of = represent(Representation::RelativeToolPoses, Rotation::SixColumns, WayFrame::Tool);
        let numbers: Vec<f64> = match small {
            true => numbers.iter().map(|v| v.abs().min(1.0).copysign(*v)).collect(),
            false => numbers,
        };
        let mut walk = of.walk(vec(&ANCHOR)).expect("an arm");
        if let Ok(q) = walk.action(&numbers) {
            for (q, (name, [lower, upper])) in q.iter().zip(JOINTS) {
                prop_assert!((lower..=upper).contains(q), "{name}: {q}");
            }
        }
    }
}
