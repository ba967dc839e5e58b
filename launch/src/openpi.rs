//! `tactus engine --openpi`: the policy of a bundle for clients of openpi-client, without a cell.
//!
//! Decides where it listens: on loopback, and elsewhere only when told so, since nobody is asked who they are; and that a policy
//! whose chunks need more than one observation is not served. What clients may send and what they get is `tactus-openpi`'s.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use tactus_bundle::{Anchor, AnyBundle};
use tactus_openpi::{CameraShape, Front, FrontSpec, MappingFile, Reads, ServerSpec, Side};
use tactus_policies::{Options, Provider, Source};
use tactus_types::Conditioning;
use tactus_wire::MonotonicClock;

use crate::cli::{EngineArgs, OpenpiArgs};
use crate::{result, roles};

/// Serves until Ctrl-C.
pub fn serve(args: &EngineArgs) -> anyhow::Result<()> {
    let EngineArgs { policy, openpi, .. } = args;
    let (Some(listen), Some(dir)) = (&openpi.openpi, &policy.bundle) else {
        bail!("expected --cell FILE, or --bundle DIR with --openpi [ADDR:]PORT");
    };
    let address = address(listen, openpi.openpi_anyone)?;
    let outline = AnyBundle::open(dir)?.outline();
    from_observations(outline.action.anchor)?;
    let reads = Reads {
        cameras: outline
            .cameras
            .iter()
            .map(|camera| CameraShape {
                name: camera.name.clone(),
                size: Some((camera.width, camera.height)),
            })
            .collect(),
        joints: outline.action.joints.clone(),
        gripper: outline.state.gripper || outline.action.gripper,
        period: outline.action.period,
    };
    let mapping = mapping(openpi, &reads)?;
    let options = Options {
        ort_library: policy.onnxruntime.clone(),
        intra_threads: usize::from(openpi.openpi_threads),
        require_provider: policy.require_cuda,
        provider: policy.provider(Provider::Cpu),
        joints: &reads.joints,
        arm: None,
        conditioning: Conditioning::None,
        denoise_steps: None,
        features_every: Duration::ZERO,
    };
    let served = tactus_policies::open(Source::Bundle(dir), options)?;
    by_itself(served.serves_several())?;
    let provider = tactus_types::Policy::provider(&served).to_owned();
    let spec = FrontSpec {
        name: outline.name,
        horizon: outline.action.horizon,
        first_action_offset: outline.action.first_action_offset,
        reads,
        mapping,
    };
    let front = Front::new(Box::new(served), spec);
    let stop = roles::stop_flag(false)?;
    let clock = MonotonicClock::new()?;
    let mut told = Ok(());
    let ready = |at: SocketAddr| {
        tracing::info!(%at, provider, "serving OpenPI clients");
        told = result::line(format!("ws://{at}"));
    };
    tactus_openpi::serve(front, ServerSpec { address }, &clock, &stop, ready)?;
    told
}

/// Refuses actions that count from the command, which no client says.
fn from_observations(anchor: Anchor) -> anyhow::Result<()> {
    match anchor {
        Anchor::Measured => Ok(()),
        Anchor::Command => bail!(
            "--openpi: bundle.toml: field `action.anchor`: expected `measured`, got `command`: clients do not say what they \
             command"
        ),
    }
}

/// Refuses a policy that looks back: of several clients, one would be shown another's past.
fn by_itself(serves_several: bool) -> anyhow::Result<()> {
    if serves_several {
        return Ok(());
    }
    bail!(
        "--openpi: bundle.toml: field `history.steps`: expected 1, a policy whose chunks need nothing of those before, got one \
         that looks back"
    )
}

fn mapping(args: &OpenpiArgs, reads: &Reads) -> anyhow::Result<tactus_openpi::Mapping> {
    let Some(file) = &args.openpi_map else {
        return Ok(MappingFile::default().resolve(Side::Server, reads)?);
    };
    let of_file = || format!("mapping file {}", file.display());
    let text = std::fs::read_to_string(file).with_context(of_file)?;
    let read = MappingFile::parse(&text).with_context(of_file)?;
    read.resolve(Side::Server, reads).with_context(of_file)
}

/// Where to listen; away from loopback only with `anyone`.
fn address(text: &str, anyone: bool) -> anyhow::Result<SocketAddr> {
    let loopback = || {
        let port = text.parse::<u16>().ok()?;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    };
    let Some(address) = text.parse::<SocketAddr>().ok().or_else(loopback) else {
        bail!(
            "--openpi: expected PORT or ADDRESS:PORT, such as 8000 or 192.168.1.5:8000, got `{text}`"
        );
    };
    if !address.ip().is_loopback() && !anyone {
        bail!(
            "--openpi {address}: other machines reach this address, nobody is asked who they are and nothing is encrypted; \
             --openpi-anyone serves there all the same"
        );
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_past_or_a_command_is_not_served() {
        assert!(from_observations(Anchor::Measured).is_ok() && by_itself(true).is_ok());
        let error = from_observations(Anchor::Command).expect_err("refused");
        assert!(error.to_string().contains("`action.anchor`"), "{error}");
        let error = by_itself(false).expect_err("refused");
        assert!(error.to_string().contains("`history.steps`"), "{error}");
    }

    #[test]
    fn away_from_loopback_only_when_told_so() {
        let said = |text: &str, anyone: bool| {
            let address = address(text, anyone);
            address.map(|a| a.to_string()).map_err(|e| e.to_string())
        };
        assert_eq!(said("8000", false), Ok("127.0.0.1:8000".into()));
        assert_eq!(said("127.0.0.2:80", false), Ok("127.0.0.2:80".into()));
        assert_eq!(said("[::1]:80", false), Ok("[::1]:80".into()));
        assert_eq!(said("0.0.0.0:80", true), Ok("0.0.0.0:80".into()));
        for text in ["0.0.0.0:80", "192.168.1.5:80", "[::]:80"] {
            let refused = said(text, false).expect_err(text);
            assert!(refused.contains("--openpi-anyone"), "{refused}");
        }
        for text in ["", "eight", "70000", "localhost:80", "1.2.3.4"] {
            assert!(said(text, true).is_err(), "{text}");
        }
    }
}
