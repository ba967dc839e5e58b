//! `tactus keys`: a small certificate authority for one cell, and a certificate for each member of it.
//!
//! Decides names, lifetimes and files; what a member may say with its certificate is the wire's table. Makes what is missing
//! and leaves what is there: an operator who joins later gets a certificate of the same authority. The authority's own key
//! is needed for that alone, and for no running cell: keep it elsewhere.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519,
};
use tactus_bundle::{Signer, signature};
use tactus_wire::{Member, Members, Security};

use crate::cell::{self, Cell};
use crate::result;

/// How long an authority lives, days.
const AUTHORITY_DAYS: i64 = 3650;
/// Before now, so that hosts whose clocks are behind take a new certificate; days.
const BACKDATED_DAYS: i64 = 1;

/// `tactus keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: KeysVerb,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysVerb {
    /// Make the authority and the certificates that the cell's folder of keys ([security] keys in its file) does not have yet:
    /// one for each process, and one for each of [security] operators. Nothing that is there is changed.
    Init {
        /// Cell file with a section [security].
        cell: PathBuf,
        /// How long the certificates are good for, days.
        #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=3650))]
        days: u16,
    },
    /// Make a private key to sign bundles with (Ed25519), and say its public one, which goes into the `bundle_signers` of cells.
    Signer {
        /// File to write; must not exist. Keep it where bundles are made, and on no host of a cell.
        file: PathBuf,
    },
    /// Who belongs to the cell, which of their files are in this folder, and what each member may say.
    Show {
        /// Cell file with a section [security].
        cell: PathBuf,
    },
}

/// Does it.
pub fn keys(args: &KeysArgs) -> anyhow::Result<()> {
    match &args.verb {
        KeysVerb::Init { cell, days } => {
            let cell = cell::load(cell)?;
            make(&cell, i64::from(*days), result::line)?;
            let (_, folder) = secured(&cell)?;
            result::line(format_args!(
                "keys: {}\nEach host needs `ca.pem` and the two files of what runs there; `ca.key` belongs on none of them.",
                folder.display()
            ))
        }
        KeysVerb::Signer { file } => {
            let pair = KeyPair::generate_for(&PKCS_ED25519).context("a private key")?;
            let public = signer_of(&pair)?;
            write_new(file, &pair.serialize_pem(), 0o600)?;
            result::line(format_args!(
                "{}: made\nbundle_signers = [\"{public}\"]",
                file.display()
            ))
        }
        KeysVerb::Show { cell } => show(&cell::load(cell)?),
    }
}

/// The public half of a signer's key, as cell files say it.
fn signer_of(pair: &KeyPair) -> anyhow::Result<Signer> {
    // It signs something, and says who it is.
    let (_, signer) = signature::sign("", &pair.serialize_der())?;
    Ok(signer)
}

fn secured(cell: &Cell) -> anyhow::Result<(Members, &Path)> {
    let (Some(members), Some(security)) = (cell.members(), &cell.security) else {
        bail!(
            "{}: field `security`: expected a section such as\n\n[security]\nkeys = \"keys\"\noperators = [\"anna\"]\n\nbut there is none",
            cell.file.display()
        );
    };
    Ok((members, &security.keys))
}

/// Makes what is missing of the cell's keys, good for `days`, and says what.
///
/// # Errors
/// Where the cell has no section for them, or a file is in the way, missing or cannot be written.
pub fn make(
    cell: &Cell,
    days: i64,
    mut say: impl FnMut(String) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (members, folder) = secured(cell)?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("folder {}", folder.display()))?;
    let authority = authority(cell, folder, &mut say)?;
    for member in members.all() {
        let who = members.who(&member);
        let (certificate, key) = (
            Security::certificate(folder, &who),
            Security::key(folder, &who),
        );
        match (certificate.exists(), key.exists()) {
            (true, true) => {
                say(format!("{who}: there already"))?;
                continue;
            }
            (false, false) => {}
            (there, _) => {
                let missing = if there { &key } else { &certificate };
                bail!(
                    "{}: is missing, and its other half is there: bring it back, or remove both for new ones",
                    missing.display()
                );
            }
        }
        let pair = KeyPair::generate().context("a private key")?;
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.distinguished_name = named(&members.common_name(&member));
        params.not_before = day(-BACKDATED_DAYS);
        params.not_after = day(days);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let signed = params
            .signed_by(&pair, &authority)
            .context("a certificate")?;
        write_new(&key, &pair.serialize_pem(), 0o600)?;
        write_new(&certificate, &signed.pem(), 0o644)?;
        say(format!("{who}: made, good for {days} days"))?;
    }
    Ok(())
}

fn day(days: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc() + time::Duration::days(days)
}

fn named(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// The authority in `folder`; a new one where there is none at all.
fn authority(
    cell: &Cell,
    folder: &Path,
    say: &mut impl FnMut(String) -> anyhow::Result<()>,
) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let (certificate, key) = (Security::authority(folder), folder.join("ca.key"));
    if certificate.exists() {
        let text = std::fs::read_to_string(&key).with_context(|| {
            format!(
                "{}: the authority's key is needed to make certificates",
                key.display()
            )
        })?;
        let pair = KeyPair::from_pem(&text).with_context(|| key.display().to_string())?;
        let pem = std::fs::read_to_string(&certificate)
            .with_context(|| certificate.display().to_string())?;
        let issuer = Issuer::from_ca_cert_pem(&pem, pair);
        return issuer.with_context(|| certificate.display().to_string());
    }
    if key.exists() {
        bail!(
            "{}: there is a key of an authority, and no ca.pem: bring it back, or remove the key for a new authority",
            key.display()
        );
    }
    let pair = KeyPair::generate().context("a private key")?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = named(&format!("authority.{}", cell.name));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = day(-BACKDATED_DAYS);
    params.not_after = day(AUTHORITY_DAYS);
    let signed = params.self_signed(&pair).context("a certificate")?;
    write_new(&key, &pair.serialize_pem(), 0o600)?;
    write_new(&certificate, &signed.pem(), 0o644)?;
    say("authority: made".into())?;
    Ok(Issuer::new(params, pair))
}

/// Writes a file that is not there yet, for the reader that `mode` says.
fn write_new(file: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file);
    let written = opened.and_then(|mut to| {
        to.write_all(text.as_bytes())?;
        to.sync_all()
    });
    written.with_context(|| file.display().to_string())
}

fn show(cell: &Cell) -> anyhow::Result<()> {
    use tactus_wire::Act;
    let (members, folder) = secured(cell)?;
    for member in members.all() {
        let who = members.who(&member);
        let mut here = Vec::new();
        if Security::certificate(folder, &who).exists() {
            here.push("certificate");
        }
        if Security::key(folder, &who).exists() {
            here.push("key");
        }
        let here = if here.is_empty() {
            "not here".to_owned()
        } else {
            here.join(" and ")
        };
        result::line(format_args!("{} ({here})", members.common_name(&member)))?;
        let verbs = [
            (Act::Put, "publishes on"),
            (Act::Query, "asks on"),
            (Act::Answer, "answers on"),
        ];
        for (act, verb) in verbs {
            for key in members.may(&member, act) {
                result::line(format_args!("  {verb} {key}"))?;
            }
        }
    }
    let operators = members
        .all()
        .into_iter()
        .filter(|m| matches!(m, Member::Operator(_)))
        .count();
    result::line(format_args!(
        "{operators} operators; everyone may listen, and may stop the arm"
    ))
}
