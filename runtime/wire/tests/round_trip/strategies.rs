//! Every message, with any legal value in each of its fields.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use tactus_types::{
    Action, ActionChunk, ArmGeometry, ArmInfo, Conditioning, FrameRef, Generation,
    InferenceRequest, Jacobian, JointLimits, JointState, JointVec, Leftover, MAX_JOINTS, Refusal,
    RefusalReason, Stage, StageTimes, Time, TimedAction, Torque,
};
use tactus_wire::{ChunkReply, DeviceCommand, Service, SlackNanos};

pub fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        -10.0..10.0,
        any::<f64>().prop_filter("finite", |v| v.is_finite())
    ]
}

pub fn positive() -> impl Strategy<Value = f64> {
    (1e-6..1e6f64).prop_map(|v| v)
}

pub fn joints(len: usize) -> impl Strategy<Value = JointVec> {
    vec(finite(), len).prop_map(|v| JointVec::from_slice(&v).expect("at most MAX_JOINTS"))
}

pub fn time() -> impl Strategy<Value = Time> {
    any::<u64>().prop_map(Time::from_nanos)
}

pub fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

pub fn generation() -> impl Strategy<Value = Generation> {
    any::<(u64, u64)>().prop_map(|(boot, count)| Generation { boot, count })
}

pub fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

pub fn stages() -> impl Strategy<Value = StageTimes> {
    vec(duration(), Stage::ALL.len()).prop_map(|durations| {
        let mut stages = StageTimes::default();
        for (stage, duration) in Stage::ALL.into_iter().zip(durations) {
            stages.set(stage, duration);
        }
        stages
    })
}

pub fn joint_state() -> impl Strategy<Value = JointState> {
    (1..=MAX_JOINTS)
        .prop_flat_map(|n| {
            (
                joints(n),
                joints(n),
                finite(),
                time(),
                any::<(u64, u64, bool)>(),
            )
        })
        .prop_map(
            |(q, dq, opening, captured_at, (seq, epoch, torque))| JointState {
                captured_at,
                seq,
                epoch,
                q,
                dq,
                opening,
                torque,
            },
        )
}

pub fn device_command() -> impl Strategy<Value = DeviceCommand> {
    (1..=MAX_JOINTS)
        .prop_flat_map(|n| {
            (
                joints(n),
                joints(n),
                0.0..=1.0,
                generation(),
                any::<(u64, u64)>(),
                torque(),
            )
        })
        .prop_map(
            |(q, dq, opening, generation, (epoch, tick), torque)| DeviceCommand {
                epoch,
                tick,
                q,
                dq,
                opening,
                generation,
                torque,
            },
        )
}

pub fn arm_geometry() -> impl Strategy<Value = ArmGeometry> {
    let corners = [[-0.5, -1.0, 0.0], [0.5, 1.0, f64::MAX]];
    (text(), "[a-z]{1,9}", "[a-z]{1,9}", any::<bool>()).prop_map(
        move |(urdf, base_link, tool_link, workspace)| ArmGeometry {
            urdf,
            base_link,
            tool_link,
            workspace: workspace.then_some(corners),
        },
    )
}

pub fn torque() -> impl Strategy<Value = Torque> {
    prop::sample::select(vec![Torque::Keep, Torque::On, Torque::Off])
}

pub fn arm_info() -> impl Strategy<Value = ArmInfo> {
    let limits = (finite(), positive(), positive(), positive(), positive()).prop_filter_map(
        "lower below upper",
        |(lower, span, velocity, acceleration, jerk)| {
            let upper = lower + span;
            (upper > lower && upper.is_finite()).then_some(JointLimits {
                lower,
                upper,
                velocity,
                acceleration,
                jerk,
            })
        },
    );
    (
        text(),
        vec((text(), limits), 1..=MAX_JOINTS),
        any::<(bool, bool, bool)>(),
        positive(),
        positive(),
        proptest::option::of(arm_geometry()),
    )
        .prop_map(
            |(model, joints, (gripper, brakes, torque_switch), rate, deadline, geometry)| {
                let (joints, limits) = joints.into_iter().unzip();
                ArmInfo {
                    geometry,
                    model,
                    joints,
                    limits,
                    gripper,
                    state_rate_hz: rate,
                    brakes,
                    torque_switch,
                    command_deadline_secs: deadline,
                }
            },
        )
}

pub fn action(joints_len: usize) -> impl Strategy<Value = Action> {
    (joints(joints_len), finite()).prop_map(|(q, opening)| Action { q, opening })
}

pub fn request() -> impl Strategy<Value = InferenceRequest> {
    let timed = |n| {
        vec((time(), action(n)), 0..8).prop_map(|mut timed| {
            timed.sort_by_key(|(due, _)| *due);
            timed.dedup_by_key(|(due, _)| *due);
            let timed = timed.into_iter();
            timed
                .map(|(due, action)| TimedAction { due, action })
                .collect::<Leftover>()
        })
    };
    let conditioning = prop_oneof![
        Just(Conditioning::None),
        Just(Conditioning::Prefix),
        (positive(), any::<bool>()).prop_map(|(beta, exact)| Conditioning::Guided {
            beta,
            jacobian: if exact {
                Jacobian::Exact
            } else {
                Jacobian::Identity
            },
        }),
    ];
    (
        any::<(u64, u64)>(),
        generation(),
        text(),
        (time(), time()),
        duration(),
        (1..=MAX_JOINTS).prop_flat_map(timed),
        conditioning,
    )
        .prop_map(
            |((id, seed), generation, text, times, expected_delay, leftover, conditioning)| {
                InferenceRequest {
                    id,
                    generation,
                    instruction: text.into(),
                    observe_after: times.0,
                    deadline: times.1,
                    expected_delay,
                    leftover,
                    conditioning,
                    seed,
                }
            },
        )
}

pub fn chunk() -> impl Strategy<Value = ChunkReply> {
    let frame = (text(), any::<u64>(), time()).prop_map(|(camera, seq, captured_at)| FrameRef {
        camera: camera.into(),
        seq,
        captured_at,
    });
    (
        (any::<u64>(), generation()),
        (time(), time(), 1..=u64::MAX),
        (1..=MAX_JOINTS).prop_flat_map(|n| vec(action(n), 1..20)),
        (
            text(),
            vec(frame, 0..4),
            proptest::option::of([time(), time()]),
        ),
        stages(),
    )
        .prop_map(
            |(ids, (observed_at, first_due, period), actions, (bundle, frames, states), stages)| {
                ChunkReply::Chunk(ActionChunk {
                    request_id: ids.0,
                    generation: ids.1,
                    observed_at,
                    first_due,
                    period: Duration::from_nanos(period),
                    actions,
                    bundle_id: bundle.into(),
                    states,
                    frames,
                    stages,
                })
            },
        )
}

pub fn refusal() -> impl Strategy<Value = ChunkReply> {
    let reason = prop_oneof![
        text().prop_map(|stream| RefusalReason::Missing {
            stream: stream.into(),
        }),
        text().prop_map(|message| RefusalReason::Policy {
            message: message.into(),
        }),
        text().prop_map(|message| RefusalReason::Overloaded {
            message: message.into(),
        }),
        (text(), any::<u64>()).prop_map(|(stream, still_millis)| RefusalReason::Frozen {
            stream: stream.into(),
            still_millis,
        }),
        (text(), any::<u64>()).prop_map(|(stream, ahead_millis)| RefusalReason::Ahead {
            stream: stream.into(),
            ahead_millis,
        }),
        (text(), any::<(u64, u64)>()).prop_map(|(stream, (age_millis, limit_millis))| {
            RefusalReason::Stale {
                stream: stream.into(),
                age_millis,
                limit_millis,
            }
        }),
    ];
    (any::<u64>(), generation(), reason).prop_map(|(request_id, generation, reason)| {
        ChunkReply::Refusal(Refusal {
            request_id,
            generation,
            reason,
        })
    })
}

pub fn service() -> impl Strategy<Value = Service> {
    let slack = any::<[i64; 3]>().prop_map(|[last, least, median]| SlackNanos {
        last,
        least,
        median,
    });
    (
        any::<(u32, u32, bool)>(),
        (positive(), any::<u64>()),
        (text(), any::<[u64; 3]>()),
        prop::option::of(slack),
    )
        .prop_map(
            |((arms, admitted_arms, admitted), (share, cost), (refused_for, counts), slack)| {
                let [answered, late, rejected] = counts;
                Service {
                    arms,
                    admitted_arms,
                    share,
                    cost: Duration::from_nanos(cost),
                    admitted,
                    refused_for: refused_for.into(),
                    answered,
                    late,
                    rejected,
                    slack,
                }
            },
        )
}
