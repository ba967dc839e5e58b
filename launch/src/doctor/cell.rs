//! The cell: bundle, ONNX Runtime, cameras, joints, and whether the latency budget holds; and who is alive.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tactus_bundle::AnyBundle;
use tactus_policies::Provider;
use tactus_policies::Served;
use tactus_types::ArmInfo;
use tactus_wire::Role;

use super::live::{self, Shown};
use super::{Finding, Report, busy, network};
use crate::cell::{Cell, Vouched};
use crate::cli::{DoctorArgs, RoleArgs};
use crate::roles::{PROBE_CHUNKS, PROBE_WITHIN};
use crate::{hello, holds, result, roles};

/// How long a running cell may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Adds what it finds.
pub fn look(report: &mut Report, cell: &Cell, args: &DoctorArgs) -> anyhow::Result<()> {
    let (device, shown) = match (&args.connect, args.running) {
        (None, false) => (None, None),
        (endpoint, _) => alive(report, cell, endpoint.as_deref(), args.quick)?,
    };
    if let (None, Some(declared)) = (&args.policy.bundle, &cell.openpi) {
        let found = format!("{}, which a remote server runs", declared.endpoint);
        let mend = "the engine asks and probes it when it starts; nothing compares it with a training reference";
        return report.add(Finding::warn("policy", found, mend));
    }
    let dir = args.policy.bundle.as_ref().unwrap_or(&cell.bundle);
    let bar = busy("checking the bundle");
    let bundle = AnyBundle::open(dir);
    bar.finish_and_clear();
    let bundle = match bundle {
        Ok(bundle) => bundle,
        Err(e) => {
            let mend = "every file has to be as the manifest says: copy or export the bundle again";
            return report.add(Finding::fail("bundle", e.to_string(), mend));
        }
    };
    let outline = bundle.outline();
    let id = bundle.id().get(..12).unwrap_or_default();
    report.add(Finding::pass(
        "bundle",
        format!("{} {id}, every hash as it should be", outline.name),
    ))?;
    report.add(vouched(cell, dir, bundle.id()))?;
    report.add(cameras(cell, &bundle))?;
    if let (Some(info), Some(shown)) = (&device, &shown) {
        for finding in live::findings(shown, cell, info, &bundle)? {
            report.add(finding)?;
        }
    }
    if args.quick {
        return Ok(());
    }
    let declared = holds::judge(cell, &outline, None);
    if let Some(policy) = policy(report, cell, args, &bundle, device)? {
        return budget(report, cell, &bundle, policy);
    }
    // Without a policy the declared times are all there is.
    if let Some(reason) = declared.refusal() {
        report.add(Finding::fail("latency budget", reason, MEND_BUDGET))?;
    }
    report.figures.insert("budget".into(), declared.json());
    Ok(())
}

fn vouched(cell: &Cell, dir: &Path, id: &str) -> Finding {
    let wanted = &cell.vouched;
    match wanted.let_act(dir, id) {
        Err(e) => Finding::fail(
            "who vouches",
            e.to_string(),
            "name the bundle that is meant, or let its maker sign it: tactus bundle sign",
        ),
        Ok(()) if *wanted == Vouched::default() => Finding::pass(
            "who vouches",
            "the cell lets any bundle act (no `bundle_id`, no `bundle_signers`)",
        ),
        Ok(()) => {
            let pinned = wanted.id.as_ref().map(|_| "the one that the cell names");
            let signed = (!wanted.signers.is_empty()).then_some("signed by a key that it trusts");
            let found: Vec<&str> = pinned.into_iter().chain(signed).collect();
            Finding::pass("who vouches", found.join(", "))
        }
    }
}

/// What to do about times that do not fit.
const MEND_BUDGET: &str = "launch/cells/README.md, \"When the budget does not fit\"";

fn cameras(cell: &Cell, bundle: &AnyBundle) -> Finding {
    let outline = bundle.outline();
    let wanted: Vec<Arc<str>> = outline
        .cameras
        .iter()
        .map(|camera| camera.name.as_str().into())
        .collect();
    let sizes = cell.check_sizes(&outline);
    match cell.assembly(&wanted).map(drop).and(sizes) {
        Ok(()) => Finding::pass("cameras", format!("the bundle wants {}", wanted.join(", "))),
        Err(e) => Finding::fail(
            "cameras",
            e.to_string(),
            "name the cell's cameras as the bundle does, and let them take pictures of its size",
        ),
    }
}

/// Opens the policy for the arm's joints, where they are known: a running arm's, or the simulator's.
fn policy(
    report: &mut Report,
    cell: &Cell,
    args: &DoctorArgs,
    bundle: &AnyBundle,
    device: Option<ArmInfo>,
) -> anyhow::Result<Option<Box<dyn Served>>> {
    let simulated = || cell.sim.map(|_| tactus_sim::arm_info());
    let known = device.or_else(simulated);
    let outline = bundle.outline();
    let of_bundle = &outline.action.joints;
    let joints = known.as_ref().map_or(of_bundle, |info| &info.joints);
    let bar = busy("opening the policy");
    let policy = roles::open_policy(cell, &args.policy, joints, known.as_ref());
    bar.finish_and_clear();
    let policy = match policy {
        Ok(policy) => policy,
        Err(e) => {
            let mend = "./launch/setup fetches ONNX Runtime; the bundle has to fit the arm's joints and the strategy";
            report.add(Finding::fail("policy", format!("{e:#}"), mend))?;
            return Ok(None);
        }
    };
    let provider = policy.provider();
    let found = format!(
        "ONNX Runtime on provider `{provider}`, {} threads, {} denoising steps",
        cell.intra_threads,
        policy.steps()
    );
    report.add(if cell.provider != Provider::Cpu && provider == "cpu" {
        Finding::warn(
            "policy",
            format!("{found}; the cell asks for {}", cell.provider.name()),
            "--require-cuda says why CUDA does not work",
        )
    } else if policy.steps() < outline.steps {
        Finding::warn(
            "policy",
            format!("{found} instead of {}", outline.steps),
            "engine.denoise_steps asks for it: evaluate the policy as it runs",
        )
    } else if !policy.features_every().is_zero() {
        Finding::warn(
            "policy",
            format!(
                "{found}, features made anew every {} ms",
                policy.features_every().as_millis()
            ),
            "engine.features_every_ms asks for it: evaluate the policy as it runs",
        )
    } else {
        Finding::pass("policy", found)
    })?;
    report.add(match known {
        Some(info) => Finding::pass(
            "joints",
            format!(
                "the policy's are among the arm's: {}",
                info.joints.join(", ")
            ),
        ),
        None => Finding::warn(
            "joints",
            "the arm was not asked",
            "start its device process and say --connect ENDPOINT",
        ),
    })?;
    Ok(Some(policy))
}

fn budget(
    report: &mut Report,
    cell: &Cell,
    bundle: &AnyBundle,
    mut policy: Box<dyn Served>,
) -> anyhow::Result<()> {
    let bar = busy("probing the policy's stages");
    let conditioning = cell.schedule.strategy.conditioning();
    let probe = policy.probe(conditioning, PROBE_CHUNKS, PROBE_WITHIN);
    bar.finish_and_clear();
    let probe = match probe {
        Ok(probe) => Some(probe),
        Err(e) => {
            let mend = "`tactus bundle verify` looks closer";
            report.add(Finding::fail("inference", e.to_string(), mend))?;
            None
        }
    };
    let judgement = holds::judge(cell, &bundle.outline(), probe.as_ref());
    let cautions = judgement.cautions();
    let worst = judgement.worst().unwrap_or_default();
    report.add(match (judgement.refusal(), &cautions[..]) {
        (Some(reason), _) => Finding::fail("latency budget", reason, MEND_BUDGET),
        (None, []) => Finding::pass("latency budget", worst),
        (None, _) => {
            let found = format!("{}; {worst}", cautions.join("; "));
            Finding::warn("latency budget", found, MEND_BUDGET)
        }
    })?;
    result::line(judgement.table())?;
    report.figures.insert("budget".into(), judgement.json());
    Ok(())
}

/// Who answers at `endpoint`, or where the cell's hosts are; the info of the cell's device, if it does, and what the cell shows.
fn alive(
    report: &mut Report,
    cell: &Cell,
    endpoint: Option<&str>,
    quick: bool,
) -> anyhow::Result<(Option<ArmInfo>, Option<Shown>)> {
    let role = RoleArgs {
        cell: cell.file.clone(),
        connect: endpoint.iter().map(|&end| end.to_owned()).collect(),
        listen: vec![],
        supervised: false,
        host: None,
    };
    let bar = busy("asking the running cell");
    let session = match roles::session(&role, "doctor") {
        Ok(session) => session,
        Err(e) => {
            bar.finish_and_clear();
            let mend = "`tactus run` prints the endpoint of its cell";
            report.add(Finding::fail("running cell", format!("{e:#}"), mend))?;
            return Ok((None, None));
        }
    };
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let to = seen.clone();
    let _watch = session.watch_alive(&cell.wire, move |role, name, is_alive| {
        if is_alive {
            let word = match role {
                Role::Engine => "engine",
                Role::Camera => "camera",
                Role::Arm => "arm",
                Role::Device => "device",
            };
            let mut seen = to.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(format!("{word} {name}"));
        }
    })?;
    let asked = tactus_drivers_api::wire_driver::ask_info(
        &session,
        &cell.wire,
        &cell.device,
        ANSWER_WITHIN,
    );
    let shown = match asked {
        Ok(_) => Some(live::listen(&session, cell, live::LISTEN)?),
        Err(_) => None,
    };
    bar.finish_and_clear();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    seen.sort();
    report.add(match &asked {
        Ok(info) => Finding::pass(
            "running cell",
            format!("alive: {}; the arm is a {}", seen.join(", "), info.model),
        ),
        Err(e) => Finding::fail(
            "running cell",
            format!("{e}; alive: {}", seen.join(", ")),
            "start the device process",
        ),
    })?;
    if !quick {
        let way = match (endpoint.is_some_and(hello::is_loopback), &cell.security) {
            (true, _) => network::Way::Loopback,
            (false, Some(_)) => network::Way::Encrypted,
            (false, None) => network::Way::Plain,
        };
        network::look(report, &session, cell, way)?;
    }
    Ok((asked.ok(), shown))
}
