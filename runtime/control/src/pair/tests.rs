//! What is joined comes apart as it was, and what does not fit is refused by name.

use std::time::Duration;

use proptest::prelude::*;
use tactus_types::{Generation, StageTimes, Time};

use super::*;

fn arm(name: &str, joints: &[&str], gripper: bool) -> PairArm {
    PairArm {
        name: name.into(),
        prefix: format!("{name}_"),
        joints: joints.iter().map(|joint| (*joint).to_owned()).collect(),
        gripper,
    }
}

fn names(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn refused(state: &str, action: &str) -> String {
    let arms = [
        arm("left", &["a", "b"], true),
        arm("right", &["a", "b"], false),
    ];
    let refused = Pair::new(&arms, &names(state), &names(action));
    refused.expect_err("refused").to_string()
}

const ALL: &str = "left_a left_b right_a right_b";

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let missing = refused(ALL, "left_a left_b right_a");
    assert!(missing.contains("`right_b` of arm `right`"), "{missing}");
    let unknown = refused(ALL, "left_a left_b right_a right_b right_c");
    assert!(
        unknown.contains("`right_c`, which neither arm has"),
        "{unknown}"
    );
    // The right arm has no gripper.
    let gripper = refused(ALL, "left_a left_b right_a right_b right_gripper");
    assert!(gripper.contains("`right_gripper`"), "{gripper}");
    // A gripper that the state has and no action moves.
    let unmoved = refused("left_gripper", ALL);
    assert!(
        unmoved.contains("`left_gripper` of arm `left`"),
        "{unmoved}"
    );
    let bare = refused("a", ALL);
    assert!(
        bare.contains("state.joints") && bare.contains("`a`"),
        "{bare}"
    );
    let double = refused(ALL, "left_a left_b right_a right_b left_a");
    assert!(double.contains("action.joints, got two"), "{double}");
}

#[test]
fn two_arms_have_to_fit_into_one() {
    let many = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let arms = [arm("left", &many, false), arm("right", &many, false)];
    assert_eq!(
        Pair::new(&arms, &[], &[]),
        Err(PairError::TooMany { actual: 18 })
    );
    let same = [arm("left", &["a"], false), arm("left", &["a"], false)];
    assert!(matches!(
        Pair::new(&same, &[], &[]),
        Err(PairError::Double { .. })
    ));
}

#[test]
fn a_gripper_that_the_policy_does_not_list_stays_where_it_is_measured() {
    let arms = [arm("left", &["a"], true), arm("right", &["a"], true)];
    let all = names("right_a left_a right_gripper");
    let pair = Pair::new(&arms, &[], &all).expect("fits");
    assert_eq!(pair.columns(), names("left_a right_a right_gripper"));
    let chunk = chunk(vec![vec![1.0, 2.0, 3.0]]);
    let [left, right] = [0, 1].map(|which| pair.share(which, &chunk, 0.25).expect("a share"));
    assert_eq!((left.actions[0].q[0], left.actions[0].opening), (1.0, 0.25));
    // An opening beyond its range is the end of it.
    assert_eq!(
        (right.actions[0].q[0], right.actions[0].opening),
        (2.0, 1.0)
    );
}

fn chunk(rows: Vec<Vec<f64>>) -> ActionChunk {
    let action = |row: Vec<f64>| Action {
        q: JointVec::from_slice(&row).expect("fits"),
        opening: 0.0,
    };
    ActionChunk {
        request_id: 3,
        generation: Generation::default(),
        observed_at: Time::from_millis(100),
        first_due: Time::from_millis(150),
        period: Duration::from_millis(50),
        actions: rows.into_iter().map(action).collect(),
        bundle_id: "b".into(),
        states: None,
        frames: vec![],
        stages: StageTimes::default(),
    }
}

/// Arms of 1 to 7 joints with or without grippers, in either order of the policy's columns.
fn pairs() -> impl Strategy<Value = ([PairArm; 2], Vec<String>)> {
    (1..8usize, 1..8usize, any::<[bool; 2]>(), any::<u64>()).prop_map(|(l, r, grippers, seed)| {
        let joints: Vec<String> = (0..8).map(|i| format!("j{i}")).collect();
        let of = |name: &str, n: usize, gripper| PairArm {
            name: name.into(),
            prefix: format!("{name}_"),
            joints: joints[..n].to_vec(),
            gripper,
        };
        let arms = [of("left", l, grippers[0]), of("right", r, grippers[1])];
        let mut listed: Vec<String> = arms
            .iter()
            .flat_map(|arm| {
                let own = arm
                    .joints
                    .iter()
                    .map(|joint| format!("{}{joint}", arm.prefix));
                own.chain(arm.gripper.then(|| format!("{}gripper", arm.prefix)))
            })
            .collect();
        let n = listed.len();
        listed.rotate_left(seed as usize % n);
        (arms, listed)
    })
}

fn state(arm: &PairArm, at: u64, from: f64) -> JointState {
    JointState {
        captured_at: Time::from_millis(at),
        seq: 1,
        epoch: 5,
        q: JointVec::from_fn(arm.joints.len(), |i| from + i as f64),
        dq: JointVec::from_fn(arm.joints.len(), |i| -from - i as f64),
        opening: 0.5 + from / 1e3,
        torque: true,
    }
}

proptest! {
    #[test]
    fn what_is_joined_comes_apart_as_it_was((arms, listed) in pairs(), steps in 1..5usize) {
        let pair = Pair::new(&arms, &listed, &listed).expect("fits");
        let states = [state(&arms[0], 7, 100.0), state(&arms[1], 7, 200.0)];
        let joined = pair.state([&states[0], &states[1]]).expect("of these arms");
        prop_assert_eq!(joined.q.len(), listed.len());
        prop_assert!(joined.torque && joined.captured_at == Time::from_millis(7));
        // A chunk of rows that are the state again.
        let made = chunk(vec![joined.q.as_slice().to_vec(); steps]);
        for (which, (arm, state)) in arms.iter().zip(&states).enumerate() {
            let own = pair.share(which, &made, state.opening).expect("its columns");
            prop_assert_eq!((own.observed_at, own.first_due, own.period),
                (made.observed_at, made.first_due, made.period));
            prop_assert_eq!(own.actions.len(), steps);
            for action in &own.actions {
                prop_assert_eq!(action.q, state.q);
                prop_assert!((action.opening - state.opening).abs() < 1e-12);
            }
            // A state of another arm is not taken for one of this.
            let mut other = *state;
            other.q = JointVec::zeros(arm.joints.len() + 1);
            prop_assert!(!pair.is_of(which, &other));
        }
    }

    #[test]
    fn every_column_is_of_the_joint_that_it_is_named_after((arms, listed) in pairs()) {
        let pair = Pair::new(&arms, &listed, &listed).expect("fits");
        for (column, name) in pair.columns().iter().enumerate() {
            let mut row = vec![0.0; pair.columns().len()];
            row[column] = 1.0;
            let made = chunk(vec![row]);
            let mut moved = Vec::new();
            for (which, arm) in arms.iter().enumerate() {
                let action = pair.share(which, &made, 0.0).expect("its columns").actions[0];
                let of = |joint: &String| format!("{}{joint}", arm.prefix);
                let joints = arm.joints.iter().enumerate().filter(|(i, _)| action.q[*i] == 1.0);
                moved.extend(joints.map(|(_, joint)| of(joint)));
                moved.extend((action.opening == 1.0).then(|| of(&"gripper".to_owned())));
            }
            prop_assert_eq!(moved, vec![name.clone()]);
        }
    }

    #[test]
    fn a_policy_with_another_name_in_it_is_refused((arms, listed) in pairs(), at in any::<usize>()) {
        let mut other = listed.clone();
        let at = at % other.len();
        other[at].push('x');
        prop_assert!(Pair::new(&arms, &listed, &other).is_err());
        prop_assert!(Pair::new(&arms, &other, &listed).is_err());
        other.remove(at);
        // Without it, a joint is not moved; a gripper that nothing lists is nobody's column.
        let fits = Pair::new(&arms, &[], &other).is_ok();
        prop_assert_eq!(fits, listed[at].ends_with("gripper"));
    }
}
