//! The same of what a cell says of itself, and of what it is told.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use tactus_types::{
    Applied, ClampedBy, Command, FaultKind, HostLoad, LeaseHolder, LeaseId, MAX_JOINTS, Misses,
    MotionQuality, OperatorSetpoint, Rank, Reference, Setpoint, Source, Under,
};
use tactus_wire::{
    Asked, Counters, EpisodeEvent, EpisodePhase, Lateness, LeaseReply, LeaseRequest, LeasedOrder,
    ModeOrder, ModeReport, ModeWord, ReplyRef, SimWorld, Telemetry, TickNote,
};

use crate::strategies::*;

pub fn applied() -> impl Strategy<Value = Applied> {
    (1..=MAX_JOINTS)
        .prop_flat_map(|n| {
            (
                (joints(n), joints(n), finite(), joints(n), finite()),
                (joints(n), joints(n), finite(), joints(n)),
                prop::sample::select(vec![
                    Source::Hold,
                    Source::Policy,
                    Source::Goto,
                    Source::Align,
                    Source::Teleop,
                ]),
                (any::<(u64, u64, u64, u32)>(), prop::option::of(time())),
                (0..256u32, generation(), time(), torque()),
            )
        })
        .prop_map(
            |(command, setpoint, source, (numbers, observed_at), rest)| Applied {
                command: Command {
                    tick: numbers.0,
                    epoch: numbers.1,
                    q: command.0,
                    dq: command.1,
                    ddq: command.3,
                    opening: command.2,
                    setpoint: Setpoint {
                        source,
                        q: setpoint.0,
                        dq: setpoint.1,
                        ddq: setpoint.3,
                        opening: setpoint.2,
                        request_id: numbers.2,
                        action_index: numbers.3,
                        observed_at,
                    },
                    clamped_by: ClampedBy::from_bits(rest.0),
                    clamped_rad: command.4,
                    generation: rest.1,
                    torque: rest.3,
                },
                at: rest.2,
            },
        )
}

pub fn mode_word() -> impl Strategy<Value = ModeWord> {
    prop::sample::select(vec![
        ModeWord::Boot,
        ModeWord::Ready,
        ModeWord::Policy,
        ModeWord::Goto,
        ModeWord::Align,
        ModeWord::Teleop,
        ModeWord::Hold,
        ModeWord::Stopped,
    ])
}

pub fn mode_report() -> impl Strategy<Value = ModeReport> {
    (
        mode_word(),
        (
            text(),
            prop::option::of(prop::sample::select(FaultKind::ALL.to_vec())),
            text(),
        ),
        generation(),
        time(),
        any::<[u64; 11]>(),
        prop::option::of((text(), rank(), time())),
    )
        .prop_map(
            |(mode, (reason, fault, instruction), generation, since, n, lease)| ModeReport {
                mode,
                reason,
                fault,
                generation,
                since,
                instruction,
                counters: Counters {
                    ticks: n[0],
                    overruns: n[1],
                    starved_ticks: n[2],
                    holds: n[3],
                    limited_ticks: n[4],
                    chunks_accepted: n[5],
                    chunks_discarded: n[6],
                    orders_refused: n[7],
                    setpoints_refused: n[8],
                    turned_away: n[9],
                    denied: n[10],
                },
                lease: lease.map(|(holder, rank, expires)| LeaseHolder {
                    holder: holder.into(),
                    rank,
                    expires,
                }),
            },
        )
}

pub fn rank() -> impl Strategy<Value = Rank> {
    prop::sample::select(vec![Rank::Policy, Rank::Outside, Rank::Teleop])
}

pub fn leased_order() -> impl Strategy<Value = LeasedOrder> {
    let under = prop::option::of(any::<(u64, u64, bool)>());
    (mode_order(), under).prop_map(|(order, under)| LeasedOrder {
        order,
        under: under.map(|(lease, sequence, bound)| Under {
            lease: LeaseId(lease),
            sequence,
            bound,
        }),
    })
}

pub fn lease_request() -> impl Strategy<Value = LeaseRequest> {
    let ttl = any::<u64>().prop_map(Duration::from_millis);
    prop_oneof![
        (text(), rank(), ttl).prop_map(|(holder, rank, ttl)| LeaseRequest::Acquire {
            holder,
            rank,
            ttl
        }),
        any::<u64>().prop_map(|lease| LeaseRequest::Renew {
            lease: LeaseId(lease)
        }),
        any::<u64>().prop_map(|lease| LeaseRequest::Release {
            lease: LeaseId(lease)
        }),
    ]
}

pub fn lease_reply() -> impl Strategy<Value = LeaseReply> {
    prop_oneof![
        (any::<u64>(), time()).prop_map(|(lease, expires)| LeaseReply::Granted {
            lease: LeaseId(lease),
            expires
        }),
        Just(LeaseReply::Released),
        (text(), any::<bool>()).prop_map(|(reason, over)| LeaseReply::Refused { reason, over }),
    ]
}

pub fn mode_order() -> impl Strategy<Value = ModeOrder> {
    prop_oneof![
        Just(ModeOrder::Enable),
        Just(ModeOrder::StopEpisode),
        Just(ModeOrder::Stop),
        Just(ModeOrder::Hold),
        Just(ModeOrder::HandBack),
        prop::sample::select(Reference::ALL.to_vec())
            .prop_map(|reference| ModeOrder::TakeOver { reference }),
        any::<bool>().prop_map(|arm_is_supported| ModeOrder::TorqueOff { arm_is_supported }),
        (
            (1..=MAX_JOINTS).prop_flat_map(joints),
            prop::option::of(0.0..=1.0),
            0.0..=1.0,
        )
            .prop_map(|(q, opening, speed)| ModeOrder::Goto { q, opening, speed }),
        (any::<(u64, u64)>(), text()).prop_map(|((episode, seed), instruction)| {
            ModeOrder::StartEpisode {
                episode,
                instruction,
                seed,
            }
        }),
    ]
}

/// A load of which some figures are known only sometimes.
pub fn host(figure: f64, known: Option<f64>) -> HostLoad {
    HostLoad {
        steal: 0.25,
        busy: figure.min(1.0),
        runnable: 3,
        cores: 2,
        pressure: known.map(|v| v.min(1.0)),
        mhz: known,
        throttles: known.map(|_| 7),
    }
}

pub fn telemetry() -> impl Strategy<Value = Telemetry> {
    (prop::array::uniform9(positive()), stages()).prop_map(|(v, stages)| Telemetry {
        request_id: 3,
        ticks: 500,
        lateness: Lateness {
            p50_micros: v[0],
            p99_micros: v[1],
            p999_micros: v[2],
            max_micros: v[3],
        },
        age_p50_millis: v[4],
        age_p99_millis: v[5],
        stages,
        overhead_millis: -v[6],
        inference_millis: v[7],
        queue_millis: v[8],
        motion: MotionQuality {
            seams: 4,
            seam_jump_mean: v[0],
            seam_jump_max: v[1],
            seam_cosine_mean: -v[2],
            acceleration_max: v[3],
            jerk_max: v[4],
            sparc: -v[5],
        },
        host: host(v[0], None),
        host_at_miss: (v[1] > 1.0).then(|| host(v[1], Some(v[2]))),
        misses: Misses {
            stages: std::array::from_fn(|i| i as u64 % 3),
            host: 2,
            unanswered: 1,
        },
    })
}

pub fn episode() -> impl Strategy<Value = EpisodeEvent> {
    let phase = prop_oneof![
        (text(), any::<u64>())
            .prop_map(|(instruction, seed)| EpisodePhase::Started { instruction, seed }),
        (any::<(bool, bool)>(), text()).prop_map(|((success, excluded), reason)| {
            EpisodePhase::Stopped {
                success,
                reason,
                excluded,
            }
        }),
    ];
    (any::<u64>(), phase).prop_map(|(episode, phase)| EpisodeEvent { episode, phase })
}

pub fn world() -> impl Strategy<Value = SimWorld> {
    (
        (time(), any::<u64>()),
        finite(),
        vec(finite(), 0..40),
        vec((any::<bool>(), finite()), 1..5),
        (
            prop::option::of(0..1u32),
            prop::option::of(0..1u32),
            any::<bool>(),
            any::<Option<u64>>(),
        ),
    )
        .prop_map(|((captured_at, epoch), sim_time_secs, qpos, cubes, rest)| {
            let (first_lifted, first_placed, bowl, variation) = rest;
            let (lifted, cube_heights): (Vec<bool>, Vec<f64>) = cubes.into_iter().unzip();
            let placed = if bowl { lifted.clone() } else { Vec::new() };
            SimWorld {
                captured_at,
                epoch,
                sim_time_secs,
                qpos,
                lifted,
                first_lifted,
                cube_heights,
                placed,
                first_placed: first_placed.filter(|_| bowl),
                variation,
            }
        })
}

pub fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        Just(Asked::Stop),
        leased_order().prop_map(Asked::Order),
        lease_request().prop_map(Asked::Lease),
        mode_order().prop_map(Asked::Own),
    ]
}

pub fn tick_note() -> impl Strategy<Value = TickNote> {
    let operator = (joints(3), finite(), any::<(u64, u64, bool)>(), time()).prop_map(
        |(q, opening, (lease, sequence, engaged), captured_at)| OperatorSetpoint {
            lease: LeaseId(lease),
            sequence,
            captured_at,
            q,
            opening,
            engaged,
        },
    );
    let word = || prop::option::of("[a-z]{1,9}".prop_map(|word| word.as_str().into()));
    (
        any::<(u64, bool, u64)>(),
        time(),
        prop::option::of(joint_state()),
        prop::option::of((time(), any::<u64>())),
        prop::option::of(operator),
        (word(), word()),
        vec(asked(), 0..4),
    )
        .prop_map(
            |(numbers, now, state, reply, operator, words, asked)| TickNote {
                tick: numbers.0,
                now,
                state,
                reply: reply.map(|(published_at, seq)| ReplyRef { published_at, seq }),
                operator,
                engine_alive: numbers.1,
                engine_silent: Duration::from_nanos(numbers.2),
                dead_camera: words.0,
                driver_error: words.1,
                asked,
            },
        )
}
