//! What is wrong with a cell, by one joint state and one picture of each camera.
//!
//! A misfit is *sure* when a mistake was named that explains what is seen where a healthy cell does not, and more than
//! chance ever did. One that is not sure may have another reason, such as an arm that was parked.

use crate::look::{Light, Look};
use crate::picture::surprise;
use crate::reference::Reference;
use crate::state::{Grip, Place};
use crate::turn::Turn;

/// A picture may be so much further from what is expected than the furthest of any episode (of squared distances).
const FURTHER: f64 = 2.0;
/// A picture may be so much darker or brighter than any of an episode, octaves.
const BRIGHTER: f64 = 1.0;
/// Red and blue may shift by so much, octaves.
const TINTED: f64 = 0.5;
/// So much more of a picture may be white, or black.
const CLIPPED: f64 = 0.2;
/// A picture with a tenth of the least contrast of any episode shows nothing.
const FLAT: f64 = 0.1;
/// Where less than this share of mistakes would be noticed, it is said.
const BLIND: f64 = 0.9;

/// What a cell shows at one instant.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// The columns of the state.
    pub state: Vec<f64>,
    /// A picture of each camera, in the reference's order.
    pub looks: Vec<Look>,
}

/// One thing that is not as in training.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// What it is about: `joints`, `gripper`, or a camera.
    pub about: String,
    /// What was expected.
    pub expected: String,
    /// What is.
    pub actual: String,
    /// How to mend it.
    pub mend: String,
    /// Whether a mistake explains it, and nothing else does.
    pub sure: bool,
}

/// What was looked at and how it stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// What does not fit.
    pub misfits: Vec<Misfit>,
    /// What was found in order, and what could not be told: a text for each of joints, gripper, and cameras.
    pub fits: Vec<(String, String)>,
}

/// Judges `live`; `None` when it has other columns or cameras than `reference`.
pub fn judge(reference: &Reference, live: &Live) -> Option<Verdict> {
    if live.looks.len() != reference.cameras.len() {
        return None;
    }
    let mut verdict = Verdict::default();
    let place = reference.states.place(&live.state)?;
    judge_state(reference, &place, &mut verdict);
    if verdict.misfits.iter().any(|m| m.about == "joints") {
        // What a picture should show follows from the joints.
        let unknown = "not compared: that takes joints that fit".to_owned();
        let names = reference.cameras.iter().map(|(name, _)| name.clone());
        verdict
            .fits
            .extend(names.map(|name| (name, unknown.clone())));
        return Some(verdict);
    }
    let state = reference.standard(&live.state);
    let mut exchanged = vec![false; live.looks.len()];
    for pair in &reference.pairs {
        let (a, b) = pair.cameras;
        let gain = reference.exchange((a, b), [&live.looks[a], &live.looks[b]], &state);
        if gain > pair.limit() {
            let names = [a, b].map(|k| reference.cameras[k].0.clone());
            exchanged[a] = true;
            exchanged[b] = true;
            verdict.misfits.push(Misfit {
                about: names.join(", "),
                expected: "the pictures of these cameras as in training".into(),
                actual: format!(
                    "those of `{}` and `{}` have changed places",
                    names[0], names[1]
                ),
                mend: "exchange their sources in the cell file, or their plugs".into(),
                sure: true,
            });
        }
    }
    for (k, look) in live.looks.iter().enumerate() {
        if !exchanged[k] {
            judge_picture(reference, k, look, &state, &mut verdict);
        }
    }
    Some(verdict)
}

fn judge_state(reference: &Reference, place: &Place, verdict: &mut Verdict) {
    let (episodes, _) = reference.counts;
    let mut misfit = |about: &str, expected: String, actual: String, mend: &str, sure: bool| {
        verdict.misfits.push(Misfit {
            about: about.into(),
            expected,
            actual,
            mend: mend.into(),
            sure,
        });
    };
    let mut fit = None;
    match place {
        Place::Start(grip) => {
            fit = Some("where episodes start");
            let (low, high) = reference.states.grip;
            let expected = format!(
                "an opening of {low:.2} to {high:.2}, as where {episodes} episodes started"
            );
            match grip {
                Grip::Usual => {}
                Grip::Opposite => misfit(
                    "gripper",
                    expected,
                    "the opposite: open and closed have changed places, or it was left so".into(),
                    "is the gripper as it should be? Then its sense is wrong: 0 is closed, 1 is open",
                    true,
                ),
                Grip::Hundredth => misfit(
                    "gripper",
                    expected,
                    "a hundredth of it: its scale is wrong".into(),
                    "0 is closed and 1 is open: do not divide percent twice",
                    true,
                ),
                Grip::Odd => misfit(
                    "gripper",
                    expected,
                    "something in between".into(),
                    "open or close it as where episodes start; then its range may need calibration",
                    false,
                ),
            }
        }
        Place::Along => fit = Some("not where episodes start, but where some went"),
        Place::Mistaken(mistakes) => {
            let words: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            misfit(
                "joints",
                format!("where {episodes} episodes were"),
                words.join(", or "),
                "joint names, signs and units belong into the driver's configuration, not into the policy",
                true,
            );
        }
        Place::Nowhere(worst) => {
            let actual = match worst {
                Some((joint, value, (low, high))) => {
                    format!("joint `{joint}` at {value:.3} rad, never beyond {low:.3} to {high:.3}")
                }
                None => "each joint where it was before, but never together".into(),
            };
            misfit(
                "joints",
                format!("where {episodes} episodes were"),
                actual,
                "bring the arm to where its episodes start (`tactus arm goto start`) and ask again; if it is there, its zero is wrong",
                false,
            );
        }
    }
    if let Some(fit) = fit {
        verdict.fits.push(("joints".into(), fit.into()));
    }
}

fn judge_picture(
    reference: &Reference,
    k: usize,
    look: &Look,
    state: &nalgebra::DVector<f64>,
    verdict: &mut Verdict,
) {
    let (name, pictures) = &reference.cameras[k];
    let episodes = reference.counts.0;
    let mut misfit = |expected: String, actual: String, mend: &str, sure: bool| {
        verdict.misfits.push(Misfit {
            about: name.clone(),
            expected,
            actual,
            mend: mend.into(),
            sure,
        });
    };
    if let Some((expected, actual)) = odd_light(&look.light, &pictures.light) {
        let mend = "exposure, white balance, light, and the lens cap; `tactus camera snap` shows a picture";
        return misfit(expected, actual, mend, true);
    }
    let upright = pictures.distance(&look.shape, state);
    let gains = Turn::ALL.into_iter().enumerate().map(|(i, turn)| {
        let other = pictures.distance(&turn.apply(&look.shape), state);
        (
            surprise(upright) - surprise(other) - pictures.limit(i),
            turn,
        )
    });
    if let Some((_, turn)) = gains
        .filter(|(beyond, turn)| *turn != Turn::None && *beyond > 0.0)
        .max_by(|a, b| a.0.total_cmp(&b.0))
    {
        return misfit(
            format!("a picture as in {episodes} episodes"),
            turn.undo().words().into(),
            "the camera's `rotate` in the cell file, or how it is mounted; a mirror cannot be mended there: look for one in the source",
            true,
        );
    }
    if upright > FURTHER * pictures.furthest {
        return misfit(
            format!(
                "a picture as in {episodes} episodes, at most {:.0} from what the joints let expect",
                pictures.furthest
            ),
            format!("one that is {upright:.0} away"),
            "where the camera stands, what it sees, its focus; `tactus camera snap` shows a picture",
            false,
        );
    }
    let mut fit = "as in training".to_owned();
    for (i, turn) in Turn::ALL.into_iter().enumerate().skip(1) {
        let noticed = pictures.noticed[i];
        if noticed < BLIND {
            let words = turn.undo().words();
            fit += &format!(
                "; {words} would be noticed {:.0} % of the time",
                100.0 * noticed
            );
        }
    }
    verdict.fits.push((name.clone(), fit));
}

/// What was expected of the light, and what is; `None` when nothing is odd.
fn odd_light(light: &Light, seen: &[(f64, f64)]) -> Option<(String, String)> {
    let mut odd = None;
    for ((name, value), (low, high)) in Light::NAMES.into_iter().zip(light.numbers()).zip(seen) {
        let percent = |v: f64| format!("{:.0} %", 100.0 * v);
        let octave = |v: f64| (v + 1e-3).log2();
        let found = match name {
            "mean" if octave(value) < octave(*low) - BRIGHTER => Some(("brightness", "too dark")),
            "mean" if octave(value) > octave(*high) + BRIGHTER => {
                Some(("brightness", "too bright"))
            }
            "spread" if value < FLAT * low => Some(("contrast", "nothing to be seen")),
            "white" if value > high + CLIPPED => Some(("white", "overexposed")),
            "black" if value > high + CLIPPED => Some(("black", "underexposed")),
            "red" | "blue" if value < low - TINTED || value > high + TINTED => {
                let actual =
                    format!("{name} over green {value:+.2} octaves: another white balance");
                let expected = format!("{low:+.2} to {high:+.2}");
                odd.get_or_insert((expected, actual));
                None
            }
            _ => None,
        };
        if let Some((what, words)) = found {
            let expected = format!("{what} of {} to {}", percent(*low), percent(*high));
            odd.get_or_insert((expected, format!("{}: {words}", percent(value))));
        }
    }
    odd
}
