//! Laws of the encodings: what is sent is what arrives, and no bytes make a receiver panic or accept nonsense.

use std::{borrow::Cow, time::Duration};

use proptest::{collection::vec, prelude::*};
use tactus_types::{
    Action, ActionChunk, Applied, ArmGeometry, ArmInfo, CameraFrame, ClampedBy, ClockId, Command,
    Conditioning, Encoding, FaultKind, FrameRef, Generation, HostLoad, InferenceRequest, Jacobian,
    JointLimits, JointState, JointVec, LeaseHolder, LeaseId, Leftover, MAX_JOINTS, Misses,
    MotionQuality, OperatorSetpoint, Rank, Reference, Refusal, RefusalReason, Setpoint, Source,
    Stage, StageTimes, Time, TimedAction, Torque, Under,
};
use tactus_wire::{
    AppliedBatch, Asked, CameraInfo, CameraStatus, CaptureClock, ChunkReply, ClockedFrame,
    Counters, DeviceCommand, EngineStatus, EpisodeEvent, EpisodePhase, EvalAnswer, EvalPhase,
    EvalPicture, EvalReply, EvalReport, EvalSaid, Header, Lateness, LeaseReply, LeaseRequest,
    LeasedOrder, MAX_REASONING_BYTES, Message, ModeOrder, ModeOrderReply, ModeReport, ModeWord,
    Nothing, Raw, Reasoning, ReplyRef, Service, SimReset, SimResetReply, SimWorld, SlackNanos,
    Telemetry, TickBatch, TickNote, WireError, decode,
};

const CELL: ClockId = ClockId(7);
const KEY: &str = "tactus/demo/camera/scene/image";
const RECEIVED: Time = Time::from_millis(1_000_000);

/// What the other end makes of `message`.
fn travel<M: Message>(message: &M) -> Result<M, WireError> {
    let header = Header {
        clock: CELL,
        captured_at: message.captured_at().unwrap_or(Time::from_nanos(5)),
        published_at: Time::from_nanos(6),
        seq: message.seq().unwrap_or(3),
        source: "camera/scene".into(),
        followed: None,
    };
    let raw = Raw {
        key: KEY,
        attachment: Some(header.encode().into()),
        payload: message.encode().into(),
        received_at: RECEIVED,
    };
    decode(&raw, CELL).map(|delivery| delivery.message)
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        -10.0..10.0,
        any::<f64>().prop_filter("finite", |v| v.is_finite())
    ]
}

fn positive() -> impl Strategy<Value = f64> {
    (1e-6..1e6f64).prop_map(|v| v)
}

fn joints(len: usize) -> impl Strategy<Value = JointVec> {
    vec(finite(), len).prop_map(|v| JointVec::from_slice(&v).expect("at most MAX_JOINTS"))
}

fn time() -> impl Strategy<Value = Time> {
    any::<u64>().prop_map(Time::from_nanos)
}

fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn generation() -> impl Strategy<Value = Generation> {
    any::<(u64, u64)>().prop_map(|(boot, count)| Generation { boot, count })
}

fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

fn stages() -> impl Strategy<Value = StageTimes> {
    vec(duration(), Stage::ALL.len()).prop_map(|durations| {
        let mut stages = StageTimes::default();
        for (stage, duration) in Stage::ALL.into_iter().zip(durations) {
            stages.set(stage, duration);
        }
        stages
    })
}

fn joint_state() -> impl Strategy<Value = JointState> {
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

fn device_command() -> impl Strategy<Value = DeviceCommand> {
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

fn arm_geometry() -> impl Strategy<Value = ArmGeometry> {
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

fn torque() -> impl Strategy<Value = Torque> {
    prop::sample::select(vec![Torque::Keep, Torque::On, Torque::Off])
}

fn arm_info() -> impl Strategy<Value = ArmInfo> {
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

fn action(joints_len: usize) -> impl Strategy<Value = Action> {
    (joints(joints_len), finite()).prop_map(|(q, opening)| Action { q, opening })
}

fn request() -> impl Strategy<Value = InferenceRequest> {
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

fn chunk() -> impl Strategy<Value = ChunkReply> {
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

fn refusal() -> impl Strategy<Value = ChunkReply> {
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

fn service() -> impl Strategy<Value = Service> {
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

#[test]
fn a_share_that_is_none_is_refused() {
    for share in [-0.1, f64::NAN, f64::INFINITY] {
        let service = Service {
            arms: 2,
            admitted_arms: 1,
            share,
            cost: Duration::ZERO,
            admitted: false,
            refused_for: "".into(),
            answered: 0,
            late: 0,
            rejected: 0,
            slack: None,
        };
        let status = EngineStatus {
            provider: "cpu".into(),
            bundle_id: "a".into(),
            service: Some(service),
        };
        let refused = travel(&status).expect_err("no share").to_string();
        assert!(refused.contains("service.share"), "{refused}");
    }
}

fn applied() -> impl Strategy<Value = Applied> {
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

fn mode_word() -> impl Strategy<Value = ModeWord> {
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

fn mode_report() -> impl Strategy<Value = ModeReport> {
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

fn rank() -> impl Strategy<Value = Rank> {
    prop::sample::select(vec![Rank::Policy, Rank::Outside, Rank::Teleop])
}

fn leased_order() -> impl Strategy<Value = LeasedOrder> {
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

fn lease_request() -> impl Strategy<Value = LeaseRequest> {
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

fn lease_reply() -> impl Strategy<Value = LeaseReply> {
    prop_oneof![
        (any::<u64>(), time()).prop_map(|(lease, expires)| LeaseReply::Granted {
            lease: LeaseId(lease),
            expires
        }),
        Just(LeaseReply::Released),
        (text(), any::<bool>()).prop_map(|(reason, over)| LeaseReply::Refused { reason, over }),
    ]
}

fn mode_order() -> impl Strategy<Value = ModeOrder> {
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
fn host(figure: f64, known: Option<f64>) -> HostLoad {
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

fn telemetry() -> impl Strategy<Value = Telemetry> {
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

fn episode() -> impl Strategy<Value = EpisodeEvent> {
    let phase = prop_oneof![
        (text(), any::<u64>())
            .prop_map(|(instruction, seed)| EpisodePhase::Started { instruction, seed }),
        (any::<bool>(), text())
            .prop_map(|(success, reason)| EpisodePhase::Stopped { success, reason }),
    ];
    (any::<u64>(), phase).prop_map(|(episode, phase)| EpisodeEvent { episode, phase })
}

fn world() -> impl Strategy<Value = SimWorld> {
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

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        Just(Asked::Stop),
        leased_order().prop_map(Asked::Order),
        lease_request().prop_map(Asked::Lease),
        mode_order().prop_map(Asked::Own),
    ]
}

fn tick_note() -> impl Strategy<Value = TickNote> {
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

macro_rules! arrives_as_sent {
    ($($name:ident: $strategy:expr;)*) => {
        proptest! {
            $(
                #[test]
                fn $name(message in $strategy) {
                    prop_assert_eq!(travel(&message), Ok(message));
                }
            )*
        }
    };
}

arrives_as_sent! {
    joint_states_arrive: joint_state();
    device_commands_arrive: device_command();
    arm_infos_arrive: arm_info();
    requests_arrive: request();
    chunks_arrive: chunk();
    refusals_arrive: refusal();
    batches_arrive: vec(applied(), 0..10).prop_map(|applied| AppliedBatch { applied });
    mode_reports_arrive: mode_report();
    mode_orders_arrive: mode_order();
    leased_orders_arrive: leased_order();
    lease_requests_arrive: lease_request();
    lease_replies_arrive: lease_reply();
    operator_setpoints_arrive: (1..=MAX_JOINTS)
        .prop_flat_map(|n| (joints(n), 0.0..=1.0f64, any::<(u64, u64, bool)>(), time()))
        .prop_map(|(q, opening, (lease, sequence, engaged), captured_at)| OperatorSetpoint {
            lease: LeaseId(lease),
            sequence,
            captured_at,
            q,
            opening,
            engaged,
        });
    order_replies_arrive: (any::<bool>(), text(), mode_word())
        .prop_map(|(accepted, message, mode)| ModeOrderReply { accepted, message, mode });
    telemetry_arrives: telemetry();
    ticks_arrive: (any::<(u64, u64, u64)>(), vec(tick_note(), 0..4))
        .prop_map(|((boot, spec, lost), ticks)| TickBatch { boot, spec, lost, ticks });
    episodes_arrive: episode();
    worlds_arrive: world();
    words_arrive: (any::<(u64, u32)>(), time(), ["[ -~]{0,40}", ".{0,200}", "[a-z ]{0,20}"], 0..1_000_000u64)
        .prop_map(|((talk, tokens), observed_at, [instruction, text, finish], millis)| Reasoning {
            talk,
            observed_at,
            instruction: instruction.into(),
            text: text.into(),
            tokens,
            finish: Some(finish).filter(|finish| !finish.is_empty()).map(Into::into),
            elapsed: Duration::from_millis(millis),
        });
    engine_statuses_arrive: ([text(), text()], prop::option::of(service())).prop_map(
        |([provider, bundle_id], service)| EngineStatus { provider, bundle_id, service },
    );
    resets_arrive: any::<(u64, bool)>().prop_map(|(seed, variation)| SimReset { seed, variation });
    reset_replies_arrive: any::<u64>().prop_map(|epoch| SimResetReply { epoch });
    camera_infos_arrive: (1..=16384u32, 1..=16384u32, positive())
        .prop_map(|(width, height, rate_hz)| CameraInfo { width, height, rate_hz });
    camera_statuses_arrive: (
        any::<(bool, u64, u64, u64, u64, u64)>(),
        prop::sample::select(CaptureClock::ALL.to_vec()),
        positive(),
        "[ -~]{0,80}",
    )
        .prop_map(|((connected, frames, dropped, corrupt, frozen, reconnections), clock, rate_hz, fault)| CameraStatus {
            connected, clock, frames, dropped, corrupt, frozen, reconnections, rate_hz, fault,
        });
}

/// The smallest thing that is a JPEG header: start, one quantisation table, frame, scan.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    bytes.extend([1; 64]);
    bytes.extend([0xff, 0xc0, 0, 11, 8]);
    bytes.extend(height.to_be_bytes());
    bytes.extend(width.to_be_bytes());
    bytes.extend([1, 1, 0x11, 0]);
    for class in [0x00, 0x10] {
        bytes.extend([0xff, 0xc4, 0, 20, class]);
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0, 0xff, 0xd9]);
    bytes
}

fn frame(width: u16, height: u16) -> CameraFrame {
    CameraFrame {
        camera: "scene".into(),
        captured_at: Time::from_nanos(1_500_000_000),
        received_at: RECEIVED,
        seq: 9,
        width: width.into(),
        height: height.into(),
        encoding: Encoding::Jpeg,
        data: jpeg(width, height).into(),
    }
}

/// Decodes `payload` and `attachment` as every kind of message; the point is that it returns.
fn decode_all(attachment: Option<&[u8]>, payload: &[u8]) -> Vec<Option<WireError>> {
    let raw = Raw {
        key: KEY,
        attachment: attachment.map(Cow::from),
        payload: payload.into(),
        received_at: RECEIVED,
    };
    fn one<M: Message>(raw: &Raw<'_>) -> Option<WireError> {
        decode::<M>(raw, CELL).err()
    }
    vec![
        one::<JointState>(&raw),
        one::<DeviceCommand>(&raw),
        one::<ArmInfo>(&raw),
        one::<CameraFrame>(&raw),
        one::<CameraInfo>(&raw),
        one::<CameraStatus>(&raw),
        one::<ClockedFrame>(&raw),
        one::<InferenceRequest>(&raw),
        one::<ChunkReply>(&raw),
        one::<AppliedBatch>(&raw),
        one::<ModeReport>(&raw),
        one::<OperatorSetpoint>(&raw),
        one::<ModeOrder>(&raw),
        one::<LeasedOrder>(&raw),
        one::<LeaseRequest>(&raw),
        one::<LeaseReply>(&raw),
        one::<ModeOrderReply>(&raw),
        one::<Telemetry>(&raw),
        one::<TickBatch>(&raw),
        one::<EpisodeEvent>(&raw),
        one::<EvalReport>(&raw),
        one::<EvalAnswer>(&raw),
        one::<EvalReply>(&raw),
        one::<EvalPicture>(&raw),
        one::<Reasoning>(&raw),
        one::<EngineStatus>(&raw),
        one::<SimWorld>(&raw),
        one::<SimReset>(&raw),
        one::<SimResetReply>(&raw),
        one::<Nothing>(&raw),
    ]
}

fn header(clock: ClockId) -> Header {
    Header {
        clock,
        captured_at: Time::from_nanos(1),
        published_at: Time::from_nanos(2),
        seq: 3,
        source: "test".into(),
        followed: None,
    }
}

proptest! {
    #[test]
    fn frames_arrive((width, height) in (1..4000u16, 1..4000u16)) {
        let frame = frame(width, height);
        prop_assert_eq!(travel(&frame), Ok(frame));
    }

    #[test]
    fn random_bytes_never_panic(
        attachment in prop::option::of(vec(any::<u8>(), 0..64)),
        payload in vec(any::<u8>(), 0..400),
    ) {
        decode_all(attachment.as_deref(), &payload);
        decode_all(Some(&header(CELL).encode()), &payload);
    }

    #[test]
    fn damaged_messages_never_panic(
        (mut payload, at, bits) in prop_oneof![
            chunk().prop_map(|m| m.encode()),
            world().prop_map(|m| m.encode()),
            arm_info().prop_map(|m| m.encode()),
            Just(frame(64, 48).encode()),
        ].prop_flat_map(|p| { let n = p.len(); (Just(p), 0..n, any::<u8>()) }),
    ) {
        payload[at] ^= bits;
        decode_all(Some(&header(CELL).encode()), &payload);
        payload.truncate(at);
        decode_all(Some(&header(CELL).encode()), &payload);
    }

    #[test]
    fn a_message_without_this_clock_and_version_is_never_accepted(
        payload in vec(any::<u8>(), 0..40),
        clock in any::<u64>().prop_filter("foreign", |c| *c != CELL.0),
    ) {
        let foreign = header(ClockId(clock)).encode();
        for attachment in [None, Some(&foreign[..])] {
            prop_assert!(decode_all(attachment, &payload).iter().all(Option::is_some));
        }
    }
}

/// The text of the refusal of `message`; panics when it is accepted.
fn refused<M: Message + std::fmt::Debug>(message: &M) -> String {
    travel(message).expect_err("must be refused").to_string()
}

#[test]
fn refusals_name_key_field_expected_and_actual() {
    let q = JointVec::from_fn(6, |_| 0.5);
    let command = DeviceCommand {
        epoch: 1,
        tick: 1,
        q,
        dq: q,
        opening: 0.5,
        generation: Generation::default(),
        torque: Torque::Keep,
    };
    assert!(travel(&command).is_ok());
    let mut nan = command;
    nan.q[2] = f64::NAN;
    assert_eq!(
        refused(&nan),
        format!("message on `{KEY}`: field `q`: expected finite numbers, got NaN")
    );
    let short = DeviceCommand {
        dq: JointVec::zeros(5),
        ..command
    };
    assert!(refused(&short).contains("field `dq`: expected 6 numbers, got 5"));
    let wide = DeviceCommand {
        opening: 1.5,
        ..command
    };
    assert!(refused(&wide).contains("field `opening`: expected 0.0 to 1.0, got 1.5"));
}

#[test]
fn a_chunk_of_absurd_size_is_refused_and_one_that_may_not_be_executed_arrives_to_become_a_fault() {
    let chunk = |count: usize, period: Duration| {
        ChunkReply::Chunk(ActionChunk {
            request_id: 1,
            generation: Generation::default(),
            observed_at: Time::ZERO,
            first_due: Time::ZERO,
            period,
            actions: vec![
                Action {
                    q: JointVec::zeros(6),
                    opening: 0.0
                };
                count
            ],
            bundle_id: "b".into(),
            states: None,
            frames: Vec::new(),
            stages: StageTimes::default(),
        })
    };
    let period = Duration::from_millis(50);
    assert!(travel(&chunk(1024, period)).is_ok());
    assert!(refused(&chunk(1025, period)).contains("field `actions`"));
    assert!(travel(&chunk(0, period)).is_ok());
    assert!(travel(&chunk(4, Duration::ZERO)).is_ok());
    let ChunkReply::Chunk(mut poisoned) = chunk(4, period) else {
        unreachable!()
    };
    poisoned.actions[2].q[3] = f64::NAN;
    let Ok(ChunkReply::Chunk(arrived)) = travel(&ChunkReply::Chunk(poisoned)) else {
        panic!("arrives")
    };
    assert!(arrived.actions[2].q[3].is_nan() && arrived.actions[1].q.is_finite());
}

#[test]
fn a_bad_setpoint_is_still_recorded() {
    let q = JointVec::zeros(2);
    let mut applied = Applied {
        command: Command {
            tick: 1,
            epoch: 1,
            q,
            dq: q,
            ddq: q,
            opening: 0.0,
            setpoint: Setpoint {
                source: Source::Policy,
                q: JointVec::from_fn(2, |_| f64::NAN),
                dq: q,
                ddq: q,
                opening: f64::INFINITY,
                request_id: 1,
                action_index: 0,
                observed_at: None,
            },
            clamped_by: ClampedBy::default(),
            clamped_rad: 0.0,
            generation: Generation::default(),
            torque: Torque::Keep,
        },
        at: Time::ZERO,
    };
    let batch = |applied| AppliedBatch {
        applied: vec![applied],
    };
    assert!(travel(&batch(applied)).is_ok());
    applied.command.q = JointVec::from_fn(2, |_| f64::NAN);
    assert!(refused(&batch(applied)).contains("field `applied.q`"));
}

#[test]
fn what_is_not_a_jpeg_of_sane_size_is_no_frame() {
    let not_a_jpeg = CameraFrame {
        data: vec![1; 100].into(),
        ..frame(8, 8)
    };
    assert!(refused(&not_a_jpeg).contains("expected a JPEG file"));
    let raw = CameraFrame {
        encoding: Encoding::Rgb8,
        ..frame(8, 8)
    };
    assert!(refused(&raw).contains("field `data`: expected 192 bytes"));
    let none = CameraFrame {
        width: 0,
        data: vec![].into(),
        ..raw.clone()
    };
    assert!(refused(&none).contains("field `width`: expected 1 to 16384 pixels"));
    let whole = CameraFrame {
        data: vec![7; 192].into(),
        ..raw
    };
    let arrived = travel(&whole).expect("raw frames travel");
    assert_eq!(
        (arrived.data, arrived.encoding),
        (whole.data, Encoding::Rgb8)
    );
    let huge = CameraFrame {
        data: vec![0xff; (16 << 20) + 1].into(),
        ..frame(8, 8)
    };
    assert!(refused(&huge).contains("at most 16777216"));
}

#[test]
fn worlds_that_contradict_themselves_are_refused() {
    let world = |placed: Vec<bool>, first_placed| SimWorld {
        captured_at: Time::from_nanos(1),
        epoch: 1,
        sim_time_secs: 0.0,
        qpos: vec![0.0],
        lifted: vec![false; 3],
        first_lifted: None,
        cube_heights: vec![0.02; 3],
        placed,
        first_placed,
        variation: Some(u64::MAX),
    };
    assert!(travel(&world(vec![], None)).is_ok(), "knows no bowl");
    assert!(
        refused(&world(vec![true; 64], None))
            .contains("field `placed`: expected 3, as `lifted`, or none, got 64")
    );
    assert!(
        refused(&world(vec![true; 3], Some(3)))
            .contains("field `first_placed`: expected less than 3, got 3")
    );
    assert!(refused(&world(vec![], Some(0))).contains("field `first_placed`"));
}

#[test]
fn long_texts_and_large_payloads_are_refused() {
    let event = |reason: String| EpisodeEvent {
        episode: 1,
        phase: EpisodePhase::Stopped {
            success: false,
            reason,
        },
    };
    assert!(travel(&event("x".repeat(64 << 10))).is_ok());
    assert!(refused(&event("x".repeat((64 << 10) + 1))).contains("at most 65536 bytes"));
    assert!(refused(&event("x".repeat(2 << 20))).contains("field `(payload)`"));
}

#[test]
fn words_have_a_length_and_a_talk_has_an_age() {
    let said = |length: usize| Reasoning {
        talk: 1,
        observed_at: Time::from_nanos(5),
        instruction: "lift it".into(),
        text: "x".repeat(length).into(),
        tokens: 3,
        finish: None,
        elapsed: Duration::ZERO,
    };
    assert!(travel(&said(MAX_REASONING_BYTES)).is_ok());
    let refusal = refused(&said(MAX_REASONING_BYTES + 1));
    assert!(
        refusal.contains("field `text`: expected at most 8192 bytes"),
        "{refusal}"
    );
    assert!(refused(&said(1 << 20)).contains("field `(payload)`"));
}

#[test]
fn trials_that_an_operator_judges_arrive_as_they_were_sent_and_scores_have_bounds() {
    for phase in [
        EvalPhase::Preparing,
        EvalPhase::Setup,
        EvalPhase::Running,
        EvalPhase::Scoring,
        EvalPhase::Done,
    ] {
        let report = EvalReport {
            name: "B against A".into(),
            phase,
            trial: 3,
            trials: 50,
            scored: 2,
            attempt: 1,
            blind: true,
            label: "A".into(),
            task: "pick".into(),
            condition: "picture 3.jpg".into(),
            instruction: "pick up the red cube".into(),
            milestones: vec!["lifted".into()],
            secs: 1.5,
            limit_secs: 30.0,
            picture: true,
            note: String::new(),
        };
        assert_eq!(travel(&report), Ok(report.clone()));
        let endless = EvalReport {
            secs: f64::NAN,
            ..report
        };
        assert!(refused(&endless).contains("field `secs`"));
    }
    let score = |progress| EvalSaid::Score {
        success: false,
        progress,
        milestones: vec!["lifted".into()],
        note: "dropped it".into(),
    };
    let answer = |said| EvalAnswer {
        trial: 3,
        attempt: 1,
        said,
    };
    for said in [
        EvalSaid::Ready,
        EvalSaid::End,
        score(0.0),
        score(100.0),
        EvalSaid::Exclude {
            hardware: true,
            note: "a cable".into(),
        },
    ] {
        assert_eq!(travel(&answer(said.clone())), Ok(answer(said)));
    }
    for progress in [-1.0, 100.5, f64::NAN] {
        assert!(refused(&answer(score(progress))).contains("field `score.progress`"));
    }
    let reply = EvalReply {
        accepted: false,
        message: "trial 4 runs".into(),
    };
    assert_eq!(travel(&reply), Ok(reply.clone()));
    let picture = EvalPicture {
        trial: 3,
        data: vec![0xff, 0xd8],
    };
    assert_eq!(travel(&picture), Ok(picture.clone()));
}

#[test]
fn another_schema_version_is_refused_by_name() {
    // Field 1 (schema_version) = 2, nothing else.
    let errors = decode_all(Some(&[0x08, 0x02]), &[]);
    for error in errors {
        let error = error.expect("refused").to_string();
        assert!(
            error.contains("`schema_version`: expected 1, got 2"),
            "{error}"
        );
    }
}

#[test]
fn how_a_capture_time_was_read_travels_with_the_image_and_harms_nobody_who_does_not_know_it() {
    for clock in CaptureClock::ALL {
        let sent = ClockedFrame {
            frame: frame(64, 48),
            clock,
        };
        assert_eq!(travel(&sent), Ok(sent.clone()));
        let header = Header {
            clock: CELL,
            captured_at: sent.frame.captured_at,
            published_at: sent.frame.captured_at,
            seq: 9,
            source: "camera/scene".into(),
            followed: None,
        };
        let raw = |payload: Vec<u8>| Raw {
            key: KEY,
            attachment: Some(header.encode().into()),
            payload: payload.into(),
            received_at: RECEIVED,
        };
        let bare = decode::<CameraFrame>(&raw(sent.encode()), CELL).expect("a frame");
        assert_eq!(bare.message, sent.frame);
        let silent = decode::<ClockedFrame>(&raw(sent.frame.encode()), CELL).expect("a frame");
        assert_eq!(silent.message.clock, CaptureClock::Unsaid);
        assert_eq!(CaptureClock::of_word(clock.word()), clock);
    }
    assert_eq!(CaptureClock::of_word("sundial"), CaptureClock::Unsaid);
}
