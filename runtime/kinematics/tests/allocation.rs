//! What the control thread calls on every tick never allocates.
//!
//! Counted is the thread that calls them: the test's harness has one of its own, which allocates when it likes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use nalgebra::{Isometry3, Vector6};
use tactus_kinematics::{
    Chain, Frames, Inverse, InverseSpec, RotationFormat, SelfCollision, WorkspaceBox,
};
use tactus_types::JointVec;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn allocations() -> usize {
    ALLOCATIONS.with(Cell::get)
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has none any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`, which is also the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, so from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

#[test]
fn no_call_of_a_tick_allocates() {
    let seven = include_str!("data/seven_arm.urdf");
    let names = ["j1", "j2", "j3", "j4", "j5", "j6", "j7"];
    let chain = Chain::from_urdf(seven, "base", "tip", &names).unwrap();
    let collision = SelfCollision::from_urdf(seven, chain.clone(), &[]).unwrap();
    let inverse = Inverse::new(chain.clone(), chain.limits(), InverseSpec::default()).unwrap();
    let room = WorkspaceBox::new([-1.0; 3], [1.0; 3]).unwrap();
    let home = JointVec::from_slice(&[0.0, -0.4, 0.0, -2.0, 0.0, 1.6, 0.7]).unwrap();
    let mut frames = Frames::default();
    let mut numbers = [0.0; 6];
    let mut kept = 0.0;

    let before = allocations();
    assert!(before > 0, "allocations are not counted at all");
    for k in 0..200 {
        let q = JointVec::from_fn(7, |i| home[i] + 0.5 * f64::from(k * (i as i32 + 1)).sin());
        let tip = chain.forward(&q);
        chain.frames(&q, &mut frames);
        let jacobian = chain.jacobian(&q);
        // A pose nearby, one out of reach, one that is none.
        for target in [
            tip,
            Isometry3::translation(9.0, f64::from(k), 0.0),
            Isometry3::translation(f64::NAN, 0.0, 0.0),
        ] {
            kept += inverse.follow(&target, &home).slow_down;
        }
        let move_tip = Vector6::new(1e-3, 0.0, 0.0, 0.0, 1e-3, 0.0);
        kept += inverse.step(&move_tip, &q)[0] + collision.nearest(&q).distance_m;
        kept += jacobian.condition() + jacobian.manipulability() + room.outside_m(&tip);
        for format in RotationFormat::ALL {
            let numbers = &mut numbers[..format.count()];
            format.write(&tip.rotation, numbers).unwrap();
            kept += format.read(numbers).unwrap().angle();
        }
    }
    let after = allocations();
    assert_eq!(after - before, 0, "allocations in 200 ticks");
    assert!(kept.is_finite());
}
