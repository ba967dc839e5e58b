use super::*;

fn ladder() -> LadderSpec {
    LadderSpec {
        period: Duration::from_millis(2),
        tail: Duration::from_millis(150),
        settle: Duration::from_millis(200),
        proprio_limit: Duration::from_millis(20),
        frame_limit: Duration::from_millis(150),
        answer_within: Duration::from_millis(250),
        link_limit: Duration::from_millis(150),
        track_rad: 1e3,
        track_limit: Duration::from_millis(100),
        storm_rad: 0.3,
        storm_limit: Duration::from_millis(200),
        operator_limit: Duration::from_millis(100),
    }
}

fn well() -> Health<'static> {
    Health {
        engine_alive: true,
        state_age: Some(Duration::ZERO),
        ..Health::default()
    }
}

fn in_policy(resume: Resume) -> Supervisor {
    let mut s = Supervisor::new(ladder(), resume);
    assert!(s.enable() && s.start());
    let d = s.step(
        &Health {
            accepted: true,
            ..well()
        },
        Time::ZERO,
    );
    assert!(d.raise && d.follow_chunk && d.ask);
    s
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

#[test]
fn boot_is_never_left_without_an_operator() {
    let mut s = Supervisor::new(ladder(), Resume::Auto);
    for k in 0..1000 {
        let d = s.step(
            &Health {
                accepted: true,
                ..well()
            },
            at(2 * k),
        );
        assert!(!d.follow_chunk && !d.ask);
    }
    assert_eq!(s.mode(), Mode::Boot);
    assert!(!s.start(), "an episode needs an enabled arm");
}

#[test]
fn a_dead_engine_gets_the_tail_and_then_a_hold_that_says_why() {
    let mut s = in_policy(Resume::Operator);
    let dead = Health {
        engine_alive: false,
        ..well()
    };
    assert!(s.step(&dead, at(100)).follow_chunk);
    assert!(s.step(&dead, at(249)).follow_chunk);
    let d = s.step(&dead, at(250));
    assert!(!d.follow_chunk && d.raise && !d.ask);
    assert_eq!(s.mode(), Mode::Hold(HoldReason(Fault::EngineDead)));
}

#[test]
fn an_emptied_chunk_holds_with_the_first_cause() {
    let mut s = in_policy(Resume::Operator);
    let dead = Health {
        engine_alive: false,
        ..well()
    };
    s.step(&dead, at(100));
    s.step(
        &Health {
            exhausted: true,
            ..dead
        },
        at(120),
    );
    assert_eq!(s.mode(), Mode::Hold(HoldReason(Fault::EngineDead)));
}

#[test]
fn stale_proprioception_holds_in_the_same_tick() {
    let mut s = in_policy(Resume::Auto);
    let stale = Health {
        state_age: Some(Duration::from_millis(21)),
        ..well()
    };
    assert!(!s.step(&stale, at(100)).follow_chunk);
}

#[test]
fn a_late_chunk_that_arrives_within_the_tail_costs_nothing() {
    let mut s = in_policy(Resume::Operator);
    s.step(
        &Health {
            overdue: Some(Duration::from_millis(201)),
            ..well()
        },
        at(100),
    );
    assert!(
        s.step(
            &Health {
                accepted: true,
                ..well()
            },
            at(140)
        )
        .follow_chunk
    );
    assert!(s.step(&well(), at(500)).follow_chunk);
    assert_eq!(s.mode(), Mode::Policy);
}

#[test]
fn auto_resume_waits_until_all_is_well_and_a_fresh_chunk_is_there() {
    let mut s = in_policy(Resume::Auto);
    let dead = Health {
        engine_alive: false,
        ..well()
    };
    s.step(&dead, at(0));
    s.step(&dead, at(150));
    assert!(!s.step(&well(), at(1000)).ask);
    assert!(!s.step(&well(), at(1199)).ask);
    let d = s.step(&well(), at(1200));
    assert!(d.ask && d.raise && !d.follow_chunk);
    assert!(
        !s.step(&well(), at(1300)).follow_chunk,
        "still without a chunk"
    );
    assert!(
        s.step(
            &Health {
                accepted: true,
                ..well()
            },
            at(1310)
        )
        .follow_chunk
    );
}

#[test]
fn each_resumption_that_does_not_last_waits_longer_up_to_a_bound_and_one_that_does_starts_afresh() {
    let mut s = in_policy(Resume::Auto);
    let stale = Health {
        state_age: Some(Duration::from_millis(21)),
        ..well()
    };
    let chunk = Health {
        accepted: true,
        ..well()
    };
    let mut now = 5_000;
    // A fault, then how long all has to be well until the policy is asked again; it answers at once.
    let mut fall = |s: &mut Supervisor, lasted: u64| {
        now += lasted;
        assert!(!s.step(&stale, at(now)).follow_chunk);
        let well_since = now + 1;
        loop {
            now += 1;
            if s.step(&well(), at(now)).ask {
                break;
            }
        }
        let waited = now - well_since;
        assert!(s.step(&chunk, at(now)).follow_chunk);
        waited
    };
    assert_eq!(fall(&mut s, 0), 200);
    let waits = [1, 1999, 1, 1, 1].map(|lasted| fall(&mut s, lasted));
    assert_eq!(waits, [400, 800, 800, 800, 800]);
    assert_eq!(fall(&mut s, 2000), 200);
}

#[test]
fn an_operator_cell_never_resumes_by_itself() {
    let mut s = in_policy(Resume::Operator);
    let dead = Health {
        engine_alive: false,
        ..well()
    };
    s.step(&dead, at(0));
    s.step(&dead, at(150));
    for k in 0..2000 {
        assert!(
            !s.step(
                &Health {
                    accepted: true,
                    ..well()
                },
                at(200 + 2 * k)
            )
            .follow_chunk
        );
    }
    assert!(s.enable());
    assert!(s.step(&well(), at(9000)).ask);
    assert!(
        s.step(
            &Health {
                accepted: true,
                ..well()
            },
            at(9010)
        )
        .follow_chunk
    );
}

#[test]
fn a_hold_that_was_asked_for_never_ends_by_itself() {
    let taken = Fault::LeaseEnded {
        holder: "demo".into(),
        how: tactus_types::LeaseEnd::Expired,
    };
    for reason in [Fault::Held, taken] {
        let mut s = in_policy(Resume::Auto);
        s.hold_for(reason.clone());
        let fresh = Health {
            accepted: true,
            ..well()
        };
        for k in 0..2000 {
            assert!(!s.step(&fresh, at(2 * k)).follow_chunk);
        }
        s.hold_for(Fault::EngineDead);
        assert_eq!(s.mode(), Mode::Hold(HoldReason(reason)));
        assert!(s.enable());
        s.hold_for(Fault::Held);
        assert!(!s.step(&fresh, at(8000)).follow_chunk, "told again to hold");
        assert!(s.enable());
        assert!(s.step(&fresh, at(9000)).follow_chunk, "an operator may");
    }
}

#[test]
fn a_hold_between_two_motions_lasts_until_someone_enables() {
    let mut s = Supervisor::new(ladder(), Resume::Auto);
    assert!(s.enable());
    s.hold_for(Fault::EngineDead);
    assert_eq!(s.mode(), Mode::Ready, "nothing moves that it would concern");
    s.hold_for(Fault::Held);
    assert_eq!(s.mode(), Mode::Hold(HoldReason(Fault::Held)));
    assert!(!s.begin_goto() && !s.start());
    assert!(s.enable() && s.begin_goto());
    // Told during a hold that a program would end by itself, it is the asked-for one from then on.
    s.hold_for(Fault::Goto(tactus_types::GotoFlaw::NotArrived {
        joint: 0,
        away_mrad: 30,
        limit_mrad: 20,
    }));
    s.hold_for(Fault::Held);
    assert_eq!(s.mode(), Mode::Hold(HoldReason(Fault::Held)));
}

#[test]
fn a_goto_ends_by_the_arms_faults_only_and_its_hold_leads_back_to_ready() {
    let mut s = Supervisor::new(ladder(), Resume::Auto);
    assert!(!s.begin_goto(), "not in boot");
    assert!(s.enable() && s.begin_goto());
    let no_engine = Health {
        engine_alive: false,
        ..well()
    };
    s.step(&no_engine, at(0));
    assert_eq!(s.mode(), Mode::Goto);
    assert!(!s.start() && !s.enable() && !s.begin_goto());
    let stale = Health {
        state_age: Some(Duration::from_millis(21)),
        ..no_engine
    };
    s.step(&stale, at(2));
    assert!(matches!(s.mode(), Mode::Hold(_)));
    for k in 0..1000 {
        assert!(!s.step(&well(), at(10 + 2 * k)).ask, "there is no episode");
    }
    assert!(s.enable());
    assert_eq!(s.mode(), Mode::Ready);
}

#[test]
fn lost_torque_holds_a_motion_and_disables_a_ready_arm() {
    let limp = Health {
        torque_off: true,
        ..well()
    };
    let mut s = in_policy(Resume::Auto);
    assert!(!s.step(&limp, at(2)).follow_chunk);
    assert_eq!(s.mode(), Mode::Hold(HoldReason(Fault::TorqueLost)));
    let mut s = Supervisor::new(ladder(), Resume::Auto);
    assert!(s.enable());
    s.step(&limp, at(2));
    assert_eq!(s.mode(), Mode::Boot);
    s.stop();
    s.disable();
    assert_eq!(s.mode(), Mode::Stopped);
}

#[test]
fn stop_is_final() {
    let mut s = in_policy(Resume::Auto);
    s.stop();
    assert!(!s.enable() && !s.start() && !s.end_episode());
    assert!(
        !s.step(
            &Health {
                accepted: true,
                ..well()
            },
            at(1)
        )
        .follow_chunk
    );
    assert_eq!(s.mode(), Mode::Stopped);
}
