//! `tactus engine --also`: further cells whose arms one engine serves.
//!
//! Decides which cells may share an engine: those of the same policy, run in the same way, for arms of the same joints, each in
//! keys of its own. Who of them is served is decided while it runs, by `tactus-control`'s `fleet`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use tactus_policies::Served;
use tactus_types::ArmInfo;
use tactus_wire::{Session, Topic};

use crate::cell::{self, Cell};
use crate::cli::RoleArgs;
use crate::{roles, trust};

/// How long the device of a further cell is waited for.
const DEVICE_WITHIN: Duration = Duration::from_secs(15);

/// A further cell, on its network.
pub struct Other {
    /// The cell.
    pub cell: Cell,
    /// Its network.
    pub session: Session,
}

/// A further cell and how it is reached.
pub struct Loaded {
    cell: Cell,
    role: RoleArgs,
}

/// The cells of `also`, each `FILE[@ENDPOINT]`, which share the engine of `first`.
///
/// # Errors
/// When a file is no cell, or its cell cannot share that engine.
pub fn load(first: &Cell, role: &RoleArgs, also: &[String]) -> anyhow::Result<Vec<Loaded>> {
    let mut all: Vec<Loaded> = Vec::new();
    for text in also {
        let (file, connect) = match text.rsplit_once('@') {
            Some((file, endpoint)) => (file, vec![endpoint.to_owned()]),
            None => (text.as_str(), role.connect.clone()),
        };
        let cell = cell::load(Path::new(file))?;
        fits(first, &cell)?;
        let taken = all.iter().map(|other| &other.cell).chain([first]);
        if let Some(same) = taken.into_iter().find(|other| other.name == cell.name) {
            bail!(
                "cell file {}: field `name`: expected another than that of {}, got `{}`",
                cell.file.display(),
                same.file.display(),
                cell.name
            );
        }
        let role = RoleArgs {
            cell: PathBuf::from(file),
            connect,
            listen: vec![],
            host: None,
            supervised: false,
        };
        all.push(Loaded { cell, role });
    }
    if all.iter().any(|other| other.cell.security.is_some()) {
        trust::take_turns();
    }
    Ok(all)
}

/// Refuses `other` where it wants another engine than `first`.
fn fits(first: &Cell, other: &Cell) -> anyhow::Result<()> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.into());
    let strategy = |cell: &Cell| format!("{:?}", cell.schedule.strategy.conditioning());
    let fields = [
        (
            "bundle",
            real(&first.bundle).display().to_string(),
            real(&other.bundle).display().to_string(),
        ),
        (
            "openpi",
            format!("{:?}", first.openpi),
            format!("{:?}", other.openpi),
        ),
        (
            "engine.provider",
            first.provider.name().to_owned(),
            other.provider.name().to_owned(),
        ),
        (
            "engine.intra_threads",
            first.intra_threads.to_string(),
            other.intra_threads.to_string(),
        ),
        (
            "engine.denoise_steps",
            format!("{:?}", first.denoise_steps),
            format!("{:?}", other.denoise_steps),
        ),
        (
            "engine.features_every_ms",
            format!("{:?}", first.features_every),
            format!("{:?}", other.features_every),
        ),
        (
            "engine.control",
            format!("{:?}", first.control),
            format!("{:?}", other.control),
        ),
        ("schedule.strategy", strategy(first), strategy(other)),
    ];
    for (field, expected, actual) in fields {
        if expected != actual {
            bail!(
                "cell file {}: field `{field}`: expected {expected}, as in {}, whose engine is to serve both; got {actual}",
                other.file.display(),
                first.file.display()
            );
        }
    }
    Ok(())
}

/// Joins the networks of `loaded`, whose arms have to be like the one of `info`, for which `policy` was opened.
///
/// # Errors
/// When one is not reached, its arm is another, or the policy serves one arm only.
pub fn join(
    loaded: Vec<Loaded>,
    info: &ArmInfo,
    policy: &dyn Served,
) -> anyhow::Result<Vec<Other>> {
    if !(loaded.is_empty() || policy.serves_several()) {
        bail!(
            "--also: expected a policy whose chunks need nothing of those before, got `{}`, which looks back",
            policy.outline().name
        );
    }
    let mut joined = Vec::new();
    for Loaded { cell, role } in loaded {
        let (session, _) = roles::open(&role, &format!("engine/{}", cell.engine))?;
        session.answer_pings(&cell.wire.key(&Topic::Clock(session.who().clone())))?;
        let device = &cell.device;
        let other =
            tactus_drivers_api::wire_driver::ask_info(&session, &cell.wire, device, DEVICE_WITHIN)?;
        cell.check_places(&other)?;
        if (&other.joints, other.gripper) != (&info.joints, info.gripper)
            || other.geometry != info.geometry
        {
            bail!(
                "cell file {}: arm `{}`: expected the joints, gripper and geometry of arm `{}` of the first cell \
                 ({}; gripper: {}), got {}; gripper: {}",
                cell.file.display(),
                other.model,
                info.model,
                info.joints.join(", "),
                info.gripper,
                other.joints.join(", "),
                other.gripper
            );
        }
        joined.push(Other { cell, session });
    }
    Ok(joined)
}
