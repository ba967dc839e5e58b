//! What one tick's geometry costs: where the tip is, its Jacobian, the joints for the next pose, the distance of the arm
//! from itself. The simulated arm (6 joints) and an arm of the size of a Franka Panda (7 joints).
//! Run: `cargo bench --profile dev -p tactus-kinematics`.

use divan::{Bencher, black_box};
use nalgebra::{Isometry3, Vector3};
use tactus_kinematics::{Chain, Inverse, InverseSpec, SelfCollision};
use tactus_types::JointVec;

fn main() {
    divan::main();
}

struct Arm {
    chain: Chain,
    collision: SelfCollision,
    inverse: Inverse,
    q: JointVec,
}

const ARMS: [usize; 2] = [6, 7];

fn arm(joints: usize) -> Arm {
    let (text, names, q): (_, &[&str], &[f64]) = match joints {
        6 => (
            include_str!("../../../drivers/sim/assets/arm.urdf"),
            &[
                "base_yaw",
                "shoulder_pitch",
                "elbow_pitch",
                "forearm_roll",
                "wrist_pitch",
                "wrist_roll",
            ],
            &[0.1, 0.6, 1.3, 0.1, 1.0, 0.2],
        ),
        _ => (
            include_str!("../tests/data/seven_arm.urdf"),
            &["j1", "j2", "j3", "j4", "j5", "j6", "j7"],
            &[0.0, -0.4, 0.1, -2.0, 0.0, 1.6, 0.7],
        ),
    };
    let chain = Chain::from_urdf(text, "base", "tip", names).expect("the arm is read");
    Arm {
        collision: SelfCollision::from_urdf(text, chain.clone(), &[]).expect("it is covered"),
        inverse: Inverse::new(chain.clone(), chain.limits(), InverseSpec::default())
            .expect("the defaults are usable"),
        chain,
        q: JointVec::from_slice(q).expect("few joints"),
    }
}

/// The tip's pose.
#[divan::bench(args = ARMS)]
fn forward(bencher: Bencher, joints: usize) {
    let Arm { chain, q, .. } = arm(joints);
    bencher.bench_local(|| chain.forward(black_box(&q)));
}

/// The Jacobian, from joints.
#[divan::bench(args = ARMS)]
fn jacobian(bencher: Bencher, joints: usize) {
    let Arm { chain, q, .. } = arm(joints);
    bencher.bench_local(|| chain.jacobian(black_box(&q)));
}

/// The condition number, from joints.
#[divan::bench(args = ARMS)]
fn condition(bencher: Bencher, joints: usize) {
    let Arm { inverse, q, .. } = arm(joints);
    bencher.bench_local(|| inverse.condition(black_box(&q)));
}

fn follow(bencher: Bencher, joints: usize, change: impl Fn(&mut Isometry3<f64>)) {
    let Arm {
        chain, inverse, q, ..
    } = arm(joints);
    let mut target = chain.forward(&q);
    change(&mut target);
    bencher.bench_local(|| inverse.follow(black_box(&target), black_box(&q)));
}

/// One tick on: 0.5 mm away.
#[divan::bench(args = ARMS)]
fn follow_a_tick(bencher: Bencher, joints: usize) {
    follow(bencher, joints, |x| {
        x.translation.vector += Vector3::new(3e-4, -3e-4, 3e-4)
    });
}

/// One action of a policy on: 20 mm and 0.1 rad away.
#[divan::bench(args = ARMS)]
fn follow_an_action(bencher: Bencher, joints: usize) {
    follow(bencher, joints, |x| {
        *x *= Isometry3::new(Vector3::new(0.01, -0.01, 0.012), Vector3::z() * 0.1);
    });
}

/// Out of reach: until it comes no nearer, or the steps that are allowed are used up.
#[divan::bench(args = ARMS)]
fn follow_out_of_reach(bencher: Bencher, joints: usize) {
    follow(bencher, joints, |x| x.translation.vector *= 10.0);
}

/// The arm's distance from itself.
#[divan::bench(args = ARMS)]
fn nearest(bencher: Bencher, joints: usize) {
    let Arm { collision, q, .. } = arm(joints);
    bencher.bench_local(|| collision.nearest(black_box(&q)));
}
