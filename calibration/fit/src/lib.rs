//! Estimating what calibration files hold: where a board is in a picture, the lens, the camera's place on an arm or beside it.
//!
//! Decides how, and when a result is not good enough to be used; every refusal says what was expected, what is there and what
//! to do. What a board, a lens and a file are is `tactus-calibration`'s. Opens no file and no camera: pictures come in, numbers
//! go out ([`answer`]), as the program `tactus-fit` does for `tactus`.
//!
//! - [`find`]: corners of a board in a picture; [`gauge`]: how it was seen.
//! - [`pnp`]: the board's pose from its corners, with covariance.
//! - [`intrinsics`]: the lens. [`hand_eye`]: the camera's place, [`refine`] its last step.
#![forbid(unsafe_code)]

pub mod find;
pub mod gauge;

pub mod pnp;

pub mod intrinsics;

pub mod hand_eye;
pub mod refine;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tactus_calibration::exchange::{Answer, Ask};

use find::Grey;

/// Why there is no result: a sentence for whoever asked.
pub type Refused = String;

/// What OpenCV says.
fn opencv(e: opencv::Error) -> Refused {
    format!("OpenCV: {}", e.message)
}

/// Answers a question.
pub fn answer(ask: Ask) -> Answer {
    let answered = match ask {
        Ask::Find {
            name,
            board,
            size,
            grey,
        } => STANDARD
            .decode(grey)
            .map_err(|e| e.to_string())
            .and_then(|bytes| Grey::new(size, bytes))
            .and_then(|picture| {
                let view = find::board(&board, &picture, &name)?;
                let seen = gauge::seen(&board, &picture, &view)?;
                Ok(Answer::Found { view, seen })
            }),
        Ask::Intrinsics {
            board,
            model,
            views,
            start,
        } => intrinsics::fit(&board, model, &views, start.as_ref()),
        Ask::Verify { board, lens, views } => intrinsics::verify(&board, &lens, &views),
        Ask::Place { board, lens, view } => {
            pnp::pose(&board, &lens, &view).map(|found| Answer::Placed {
                x_cw: found.x_cw.into(),
                rms_px: found.rms_px,
            })
        }
        Ask::HandEye {
            board,
            lens,
            lens_std_px,
            mount,
            noise,
            samples,
            roughly,
        } => {
            let lens = (&lens, lens_std_px);
            hand_eye::fit(&board, lens, mount, noise, &samples, roughly)
        }
    };
    answered.unwrap_or_else(|reason| Answer::Refused { reason })
}
