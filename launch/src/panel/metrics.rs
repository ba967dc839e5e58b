//! What is known lately, as text for Prometheus. Pure. Names and units follow its conventions: base units (seconds), counters
//! end in `_total`. Counters are the arm host's own, so they start again with it.

use std::fmt::Write as _;

use tactus_types::{Stage, Time};
use tactus_wire::{ModeWord, Service};

use super::snapshot::{Facts, Lately};

/// Media type of the text.
pub const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

const MODES: [ModeWord; 8] = [
    ModeWord::Boot,
    ModeWord::Ready,
    ModeWord::Policy,
    ModeWord::Goto,
    ModeWord::Align,
    ModeWord::Teleop,
    ModeWord::Hold,
    ModeWord::Stopped,
];

/// The text as of `now`; `pictures` are frames that came and the age of the newest, s, per camera.
pub fn text(lately: &Lately, facts: &Facts, pictures: &[(u64, Option<f64>)], now: Time) -> String {
    let mut out = Out(String::new());
    let roles = facts.roles.iter().map(|(role, name)| {
        let here = lately.present.get(&(*role, name.clone())) == Some(&true);
        (labels(&[("role", role), ("name", name)]), f64::from(here))
    });
    out.gauge(
        "tactus_role_up",
        "Whether a process of the cell is there.",
        roles,
    );
    if let Some((mode, heard)) = &lately.mode {
        let modes = MODES.map(|word| {
            let name = word.to_string();
            (labels(&[("mode", &name)]), f64::from(word == mode.mode))
        });
        out.gauge(
            "tactus_mode",
            "1 for the mode that the arm host is in.",
            modes,
        );
        out.one(
            "tactus_report_age_seconds",
            "Since the arm host last reported.",
            now.since(*heard).as_secs_f64(),
        );
        let c = &mode.counters;
        for (name, help, value) in [
            ("tactus_ticks_total", "Ticks of the control loop.", c.ticks),
            (
                "tactus_overruns_total",
                "Ticks that ended after their deadline.",
                c.overruns,
            ),
            (
                "tactus_starved_ticks_total",
                "Ticks in policy mode without an action that was due.",
                c.starved_ticks,
            ),
            (
                "tactus_limited_ticks_total",
                "Ticks whose setpoint a limit changed.",
                c.limited_ticks,
            ),
            ("tactus_holds_total", "Holds by a fault.", c.holds),
            (
                "tactus_orders_refused_total",
                "Orders that were refused.",
                c.orders_refused,
            ),
            (
                "tactus_setpoints_refused_total",
                "Setpoints of humans that were refused.",
                c.setpoints_refused,
            ),
            (
                "tactus_turned_away_total",
                "Said under a lease, in a name or for a rank that was not its sender's; setpoints that were none.",
                c.turned_away,
            ),
            (
                "tactus_denied_total",
                "Dropped by the network because the sender may not say it.",
                c.denied,
            ),
        ] {
            out.counter(name, help, [(String::new(), value)]);
        }
        let chunks = [
            ("accepted", c.chunks_accepted),
            ("discarded", c.chunks_discarded),
        ];
        let chunks = chunks.map(|(fate, n)| (labels(&[("fate", fate)]), n));
        out.counter(
            "tactus_chunks_total",
            "Chunks that came, by what became of them.",
            chunks,
        );
    }
    if let Some((t, _)) = &lately.telemetry {
        let late = &t.lateness;
        let quantiles = [
            ("0.5", late.p50_micros),
            ("0.99", late.p99_micros),
            ("0.999", late.p999_micros),
            ("1", late.max_micros),
        ];
        let quantiles = quantiles.map(|(q, us)| (labels(&[("quantile", q)]), us * 1e-6));
        out.gauge(
            "tactus_control_lateness_seconds",
            "Wake-up of the control loop against its deadline.",
            quantiles,
        );
        let ages = [("0.5", t.age_p50_millis), ("0.99", t.age_p99_millis)];
        let ages = ages.map(|(q, ms)| (labels(&[("quantile", q)]), ms * 1e-3));
        out.gauge(
            "tactus_age_at_actuation_seconds",
            "Age of the observation behind a command when it was applied.",
            ages,
        );
        if t.request_id != 0 {
            let of = |stage: Stage| labels(&[("stage", stage.name())]);
            let taken = Stage::ALL.map(|s| (of(s), t.stages.get(s).as_secs_f64()));
            out.gauge("tactus_stage_seconds", "Stages of the last chunk.", taken);
            out.one(
                "tactus_inference_seconds",
                "Of the last chunk, inside ONNX Runtime.",
                t.inference_millis * 1e-3,
            );
            out.one(
                "tactus_overhead_seconds",
                "Of the last chunk, ready to accepted, less inference.",
                t.overhead_millis * 1e-3,
            );
        }
        let stages = Stage::ALL.map(|s| (labels(&[("by", s.name())]), t.misses.of(s)));
        let others = [("host", t.misses.host), ("unanswered", t.misses.unanswered)];
        let others = others.map(|(by, n)| (labels(&[("by", by)]), n));
        let misses = stages.into_iter().chain(others);
        out.counter(
            "tactus_missed_deadlines_total",
            "Deadlines missed, by what missed them.",
            misses,
        );
        out.one(
            "tactus_host_busy_ratio",
            "Share of the arm host's machine that computed.",
            t.host.busy,
        );
        out.one(
            "tactus_host_steal_ratio",
            "Share that the hypervisor gave to others.",
            t.host.steal,
        );
    }
    if let Some((service, _)) = &lately.service {
        engine(&mut out, service);
    }
    let times = || {
        lately
            .followed
            .iter()
            .map(|((role, name), followed)| (labels(&[("role", role), ("name", name)]), followed))
    };
    if !lately.followed.is_empty() {
        out.gauge(
            "tactus_clock_ahead_seconds",
            "Cell time less the own clock of a process that is not on the arm's host.",
            times().map(|(of, followed)| (of, followed.ahead_nanos as f64 * 1e-9)),
        );
        out.gauge(
            "tactus_clock_bound_seconds",
            "How far the truth is from that at most.",
            times().map(|(of, followed)| (of, followed.bound.as_secs_f64())),
        );
    }
    let budget = &facts.budget;
    let declared =
        Stage::ALL.map(|s| (labels(&[("stage", s.name())]), budget.get(s).as_secs_f64()));
    out.gauge(
        "tactus_stage_budget_seconds",
        "Declared budget of each stage.",
        declared,
    );
    out.one(
        "tactus_budget_seconds",
        "Declared budget over all, margin included.",
        budget.total().as_secs_f64(),
    );
    let cameras = || facts.cameras.iter().zip(pictures);
    let frames = cameras().map(|(name, (n, _))| (labels(&[("camera", name)]), *n));
    out.counter(
        "tactus_camera_frames_total",
        "Frames that came to the panel.",
        frames,
    );
    let ages =
        cameras().filter_map(|(name, (_, age))| Some((labels(&[("camera", name)]), (*age)?)));
    out.gauge(
        "tactus_camera_age_seconds",
        "Since the newest frame came.",
        ages,
    );
    let tally = [
        ("success", lately.tally.successes),
        ("failure", lately.tally.failures),
    ];
    let tally = tally.map(|(outcome, n)| (labels(&[("outcome", outcome)]), n));
    out.counter(
        "tactus_episodes_total",
        "Episodes that ended with a score.",
        tally,
    );
    out.0
}

/// How the engine serves this arm.
fn engine(out: &mut Out, service: &Service) {
    for (name, help, value) in [
        (
            "tactus_engine_arms",
            "Arms that the engine is there for.",
            f64::from(service.arms),
        ),
        (
            "tactus_engine_admitted_arms",
            "Arms that the engine answers.",
            f64::from(service.admitted_arms),
        ),
        (
            "tactus_engine_admitted",
            "Whether it answers this one.",
            f64::from(u8::from(service.admitted)),
        ),
        (
            "tactus_engine_share_ratio",
            "Share of the engine's time that the arms take that it answers, at most.",
            service.share,
        ),
        (
            "tactus_engine_answer_seconds",
            "What an answer takes of the engine, at most.",
            service.cost.as_secs_f64(),
        ),
    ] {
        out.one(name, help, value);
    }
    if let Some(slack) = service.slack {
        let of = [("0", slack.least), ("0.5", slack.median)];
        out.gauge(
            "tactus_engine_slack_seconds",
            "What was left of this arm's time when the last 256 answers left; below zero: late.",
            of.map(|(q, nanos)| (labels(&[("quantile", q)]), nanos as f64 * 1e-9)),
        );
    }
    for (name, help, value) in [
        (
            "tactus_engine_answers_total",
            "Answers that this arm got.",
            service.answered,
        ),
        (
            "tactus_engine_late_total",
            "Answers that left after their time.",
            service.late,
        ),
        (
            "tactus_engine_rejected_total",
            "Requests of this arm that were rejected for want of time.",
            service.rejected,
        ),
    ] {
        out.counter(name, help, [(String::new(), value)]);
    }
}

/// Names in here are of the wire's grammar, and need no escaping; others are escaped all the same.
fn labels(pairs: &[(&str, &str)]) -> String {
    let each = pairs.iter().map(|(name, value)| {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    });
    format!("{{{}}}", each.collect::<Vec<_>>().join(","))
}

struct Out(String);

impl Out {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (String, f64)>) {
        self.head(name, help, "gauge");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    fn one(&mut self, name: &str, help: &str, value: f64) {
        self.gauge(name, help, [(String::new(), value)]);
    }

    fn counter(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (String, u64)>) {
        self.head(name, help, "counter");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::{facts, lately};
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_name_with_labels_and_a_number() {
        let text = text(
            &lately(),
            &facts(),
            &[(7, Some(0.05)), (0, None)],
            Time::from_millis(2000),
        );
        let mut typed = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().expect("a name").to_owned();
                assert!(typed.insert(name), "{line}: a second time");
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            let (name, value) = line.rsplit_once(' ').expect("a value");
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            let name = name.split('{').next().expect("a name");
            assert!(typed.contains(name), "{line}: no type");
        }
        for line in [
            "tactus_role_up{role=\"arm\",name=\"arm\"} 1",
            "tactus_mode{mode=\"hold\"} 1",
            "tactus_mode{mode=\"policy\"} 0",
            "tactus_camera_frames_total{camera=\"scene\"} 7",
            "tactus_episodes_total{outcome=\"success\"} 0",
            "tactus_engine_admitted 0",
            "tactus_engine_rejected_total 4",
            "tactus_engine_slack_seconds{quantile=\"0\"} -0.0015",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        }
    }

    #[test]
    fn labels_cannot_break_out() {
        assert_eq!(labels(&[("a", "x\"} 1\ny")]), "{a=\"x\\\"} 1\\ny\"}");
    }
}
