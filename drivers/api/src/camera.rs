//! The shell around a camera: its keys, its token, its loop.
//!
//! The header's capture time is the frame's, so *published - captured* is the capture stage: exposure, reading, encoding.

use std::sync::atomic::{AtomicBool, Ordering};

use tactus_types::{Camera, CameraFrame};
use tactus_wire::{
    AliveToken, CameraInfo, CameraStatus, CaptureClock, Cell, ClockedFrame, Name, Nothing,
    Publisher, Queryable, Role, Session, SessionError, Topic,
};

use crate::ServeError;

/// One camera on the wire. While it is kept, the camera counts as alive.
pub struct CameraPort {
    images: Publisher<ClockedFrame>,
    statuses: Publisher<CameraStatus>,
    _infos: Queryable,
    _token: AliveToken,
}

impl CameraPort {
    /// Declares camera `name` of `cell`.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn open(
        session: &Session,
        cell: &Cell,
        name: &Name,
        info: CameraInfo,
    ) -> Result<Self, SessionError> {
        let info_key = cell.key(&Topic::CameraInfo(name.clone()));
        let infos = session.queryable::<Nothing, CameraInfo>(&info_key, move |_, responder| {
            responder.answer(&info);
        })?;
        session.publisher(&info_key)?.put(&info)?;
        Ok(Self {
            images: session.publisher(&cell.key(&Topic::CameraImage(name.clone())))?,
            statuses: session.publisher(&cell.key(&Topic::CameraStatus(name.clone())))?,
            _infos: infos,
            _token: session.alive(cell, Role::Camera, name)?,
        })
    }

    /// Publishes `frame`, without saying how its capture time was read.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn publish(&self, frame: &CameraFrame) -> Result<(), SessionError> {
        self.publish_clocked(&ClockedFrame {
            frame: frame.clone(),
            clock: CaptureClock::Unsaid,
        })
    }

    /// Publishes `frame`, whose capture time was read as it says.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn publish_clocked(&self, frame: &ClockedFrame) -> Result<(), SessionError> {
        self.images.put(frame)
    }

    /// Publishes how the camera is.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn report(&self, status: &CameraStatus) -> Result<(), SessionError> {
        self.statuses.put(status)
    }
}

/// Publishes what `camera` captures until `stop` is set, on the calling thread. It stops as fast as the camera returns.
/// Returns the number of frames.
///
/// # Errors
/// [`ServeError`] when the camera or the network fails for good.
pub fn serve_camera(
    camera: &mut dyn Camera,
    port: &CameraPort,
    stop: &AtomicBool,
) -> Result<u64, ServeError> {
    let mut frames = 0;
    while !stop.load(Ordering::Relaxed) {
        if let Some(frame) = camera.capture()? {
            port.publish(&frame)?;
            frames += 1;
        }
    }
    Ok(frames)
}
