//! From a shot to the JPEG file that is published: whole, of the right size, straightened, cut and turned as the cell asks.
//! A JPEG that needs none of it is passed through.

use std::sync::Arc;

use crate::lens::Straightener;
use crate::picture::{self, Picture};
use crate::source::{Pixels, Shot};
use crate::spec::CameraSpec;
use crate::{CameraError, jpeg};

/// What is done with the shots of one camera.
pub struct Develop {
    spec: CameraSpec,
    straightener: Option<Straightener>,
}

impl Develop {
    /// For the camera of `spec`.
    pub fn new(spec: &CameraSpec) -> Self {
        Self {
            spec: spec.clone(),
            straightener: spec.undistort.as_ref().map(Straightener::new),
        }
    }

    /// The bytes of a whole shot; in words what it lacks.
    ///
    /// # Errors
    /// [`CameraError::Size`] for one that is whole and of another size than the cell says.
    pub fn check(&self, shot: &mut Shot) -> Result<Result<Arc<[u8]>, String>, CameraError> {
        if shot.damaged {
            return Ok(Err("the driver says that it is damaged".into()));
        }
        let mut data = std::mem::take(&mut shot.data);
        if shot.pixels == Pixels::Jpeg {
            match jpeg::complete(&mut data) {
                Ok(size) => shot.size = size,
                Err(e) => return Ok(Err(e.to_string())),
            }
        }
        let (width, height) = (self.spec.width, self.spec.height);
        if shot.size != (width, height) {
            return Err(CameraError::Size {
                what: "its frames".into(),
                expected: format!("{width}x{height}"),
                actual: format!("{}x{}", shot.size.0, shot.size.1),
                offered: Vec::new(),
            });
        }
        Ok(Ok(data.into()))
    }

    /// The JPEG file of a shot whose bytes were checked.
    ///
    /// # Errors
    /// [`CameraError::Image`] when it cannot be decoded or changed.
    pub fn finish(&self, shot: &Shot, data: &Arc<[u8]>) -> Result<Arc<[u8]>, CameraError> {
        if shot.pixels == Pixels::Jpeg && !self.spec.edits() {
            return Ok(data.clone());
        }
        let mut picture = self.pixels(shot, data)?;
        if let Some(straightener) = &self.straightener {
            picture = straightener.straighten(&picture)?;
        }
        if let Some(crop) = self.spec.crop {
            picture = picture.cropped(crop)?;
        }
        Ok(picture::encode(&picture.turned(self.spec.rotate), self.spec.quality)?.into())
    }

    /// The JPEG file of a shot as the camera took it.
    ///
    /// # Errors
    /// [`CameraError::Image`].
    pub fn as_taken(&self, shot: &Shot, data: &Arc<[u8]>) -> Result<Arc<[u8]>, CameraError> {
        if shot.pixels == Pixels::Jpeg {
            return Ok(data.clone());
        }
        Ok(picture::encode(&self.pixels(shot, data)?, self.spec.quality)?.into())
    }

    fn pixels(&self, shot: &Shot, data: &[u8]) -> Result<Picture, CameraError> {
        let (width, height) = shot.size;
        match shot.pixels {
            Pixels::Jpeg => picture::decode(data),
            Pixels::Yuyv { stride } => picture::of_yuyv(data, shot.size, stride),
            Pixels::Rgb8 if data.len() == width as usize * height as usize * 3 => Ok(Picture {
                width,
                height,
                rgb: data.to_vec(),
            }),
            Pixels::Rgb8 => Err(CameraError::Image {
                reason: format!("{} bytes are not {width}x{height} pixels", data.len()),
            }),
        }
    }
}
