//! Draws what the cameras see, offscreen, from a world snapshot.
//!
//! Decides: picture size, flags and compression. Needs EGL but no display; each thread needs a renderer of its own.

use std::sync::Arc;

use jpeg_encoder::{ColorType, Encoder};
use mujoco_rs::prelude::*;
use mujoco_rs::renderer::MjRenderer;

use crate::board::{self, BoardPlace};
use crate::error::SimError;
use crate::scene::{self, JPEG_QUALITY, PICTURE_SIZE};
use crate::variation::Variation;
use crate::world::WorldSnapshot;

/// An offscreen OpenGL context with its own copy of the scene.
pub struct Renderer {
    /// The scene as its file says; `data` has the one that is drawn.
    nominal: Arc<MjModel>,
    variation: Option<u64>,
    data: MjData<Arc<MjModel>>,
    renderer: MjRenderer,
    width: u16,
    height: u16,
}

impl Renderer {
    /// A renderer of the policy's cameras: 224 x 224, fast.
    ///
    /// # Errors
    /// [`SimError::Render`] without a usable EGL.
    pub fn new() -> Result<Self, SimError> {
        Self::of(scene::load()?, PICTURE_SIZE as u16, PICTURE_SIZE as u16)
    }

    /// A renderer for pictures that people look at, with shadows and smooth edges: tens of milliseconds each.
    /// Width and height in pixels; the camera named `portrait` shows the whole cell.
    ///
    /// # Errors
    /// [`SimError::Render`] without a usable EGL.
    pub fn for_portraits(width: u16, height: u16) -> Result<Self, SimError> {
        let mut model = scene::load_owned()?;
        let visual = model.vis_mut();
        visual.global.offwidth = i32::from(width);
        visual.global.offheight = i32::from(height);
        visual.quality.shadowsize = 4096;
        visual.quality.offsamples = 8;
        visual.quality.numslices = 48;
        visual.quality.numstacks = 24;
        visual.quality.numquads = 4;
        Self::of(Arc::new(model), width, height)
    }

    /// A renderer of a cell with a calibration board, for measuring cameras: larger pictures with smooth edges.
    ///
    /// # Errors
    /// [`SimError::Render`] without a usable EGL.
    pub fn with_board(place: BoardPlace) -> Result<Self, SimError> {
        let mut model = scene::compile(&place.scene())?;
        let (width, height) = board::PICTURE_SIZE;
        let visual = model.vis_mut();
        visual.global.offwidth = i32::from(width);
        visual.global.offheight = i32::from(height);
        visual.quality.offsamples = 4;
        Self::of(Arc::new(model), width, height)
    }

    fn of(model: Arc<MjModel>, width: u16, height: u16) -> Result<Self, SimError> {
        let renderer = MjRenderer::new(&model, width.into(), height.into(), 0).map_err(failed)?;
        Ok(Self {
            nominal: model.clone(),
            variation: None,
            data: MjData::new(model),
            renderer,
            width,
            height,
        })
    }

    /// Takes over positions and looks of a snapshot; pictures drawn from now on show it.
    ///
    /// # Errors
    /// [`SimError::SnapshotLength`] if the snapshot is of another scene.
    pub fn show(&mut self, snapshot: &WorldSnapshot) -> Result<(), SimError> {
        let qpos = self.data.qpos_mut();
        if qpos.len() != snapshot.qpos.len() {
            return Err(SimError::SnapshotLength {
                expected: qpos.len(),
                actual: snapshot.qpos.len(),
            });
        }
        qpos.copy_from_slice(&snapshot.qpos);
        self.look(snapshot.variation)?;
        self.data.kinematics();
        self.data.com_pos();
        self.data.camlight();
        Ok(())
    }

    /// Makes the cell look as `variation` says; costs something only when that differs from before.
    fn look(&mut self, variation: Option<u64>) -> Result<(), SimError> {
        if variation == self.variation {
            return Ok(());
        }
        let mut model = self.nominal.clone();
        if let Some(seed) = variation {
            Variation::sample(seed).apply(Arc::make_mut(&mut model))?;
        }
        self.data
            .try_swap_model(model)
            .map_err(|error| SimError::Render {
                reason: error.to_string(),
            })?;
        self.variation = variation;
        Ok(())
    }

    /// Draws one camera: RGB bytes, row-major from the top left, `3 * width * height` of them.
    ///
    /// # Errors
    /// [`SimError::MissingName`] for an unknown camera, [`SimError::Render`] if drawing fails.
    pub fn rgb(&mut self, camera: &str) -> Result<&[u8], SimError> {
        let id = self
            .data
            .model()
            .name_to_id(MjtObjBase::mjOBJ_CAMERA, camera)
            .ok_or_else(|| SimError::MissingName {
                kind: "camera",
                name: camera.to_owned(),
            })?;
        self.renderer.set_camera(MjvCamera::new_fixed(id));
        self.renderer.sync_data(&mut self.data).map_err(failed)?;
        self.renderer.render().map_err(failed)?;
        self.renderer.rgb_flat().ok_or_else(|| SimError::Render {
            reason: "no colour buffer".to_owned(),
        })
    }

    /// Draws one camera (see [`crate::scene::CAMERA_NAMES`]) and compresses it: the bytes of a JPEG file.
    ///
    /// # Errors
    /// As [`Renderer::rgb`], and [`SimError::Jpeg`].
    pub fn jpeg(&mut self, camera: &str) -> Result<Vec<u8>, SimError> {
        let (width, height) = (self.width, self.height);
        let rgb = self.rgb(camera)?;
        compress(rgb, width, height).map_err(|error| SimError::Jpeg {
            camera: camera.to_owned(),
            reason: error.to_string(),
        })
    }
}

/// Bytes of a JPEG file at the data set's quality, without chroma subsampling.
fn compress(rgb: &[u8], width: u16, height: u16) -> Result<Vec<u8>, jpeg_encoder::EncodingError> {
    let mut bytes = Vec::with_capacity(16 * 1024);
    Encoder::new(&mut bytes, JPEG_QUALITY).encode(rgb, width, height, ColorType::Rgb)?;
    Ok(bytes)
}

fn failed(error: mujoco_rs::renderer::RendererError) -> SimError {
    use std::error::Error;
    let reason = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    SimError::Render { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, StartPoses};
    use crate::scene::{BOWL_CENTRE_M, CAMERA_NAMES, Cube};
    use crate::world::World;

    /// The share of pixels around (u, v) in which the cube's own colour channel leads clearly.
    fn colour_share(rgb: &[u8], [u, v]: [f64; 2], channel: usize) -> f64 {
        let size = PICTURE_SIZE as f64;
        let (column, row) = ((u * size) as usize, (v * size) as usize);
        let mut hits = 0;
        for y in row - 2..=row + 2 {
            for x in column - 2..=column + 2 {
                let pixel = &rgb[3 * (y * PICTURE_SIZE + x)..][..3];
                let others = (0..3)
                    .filter(|c| *c != channel)
                    .map(|c| pixel[c])
                    .max()
                    .unwrap_or(0);
                hits += usize::from(pixel[channel] > others.saturating_add(50));
            }
        }
        hits as f64 / 25.0
    }

    /// Projection and picture agree, with and without variation, and no cube starts outside the scene camera's view.
    #[test]
    fn every_cube_is_drawn_where_it_is_projected() {
        let mut world = World::new().unwrap();
        let mut renderer = Renderer::new().unwrap();
        let (mut seen, mut cubes) = (0, 0);
        for seed in 0..80 {
            let scenario = Scenario::sample(seed, StartPoses::Narrow).looking(seed % 2 == 1);
            world.reset(&scenario);
            let state = world.state();
            renderer.show(&world.snapshot()).unwrap();
            let rgb = renderer.rgb("scene").unwrap().to_vec();
            for cube in Cube::ALL {
                let uv = world.scene_uv(state.cubes[cube.index()].position_m);
                assert!(
                    uv.iter().all(|value| (0.05..0.95).contains(value)),
                    "seed {seed}: {uv:?}"
                );
                cubes += 1;
                seen += usize::from(colour_share(&rgb, uv, cube.index()) > 0.8);
            }
            let bowl = world.scene_uv(BOWL_CENTRE_M);
            assert!(
                bowl.iter().all(|value| (0.05..0.95).contains(value)),
                "seed {seed}: bowl at {bowl:?}"
            );
        }
        // A gripper that starts low over a cube may hide its centre.
        assert!(
            seen as f64 >= 0.9 * f64::from(cubes),
            "{seen} of {cubes} cube centres visible"
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_whatever_was_drawn_before() {
        let mut world = World::new().unwrap();
        let mut pictures = |renderer: &mut Renderer, varied: bool, seed: u64| {
            world.reset(&Scenario::sample(seed, StartPoses::Narrow).looking(varied));
            renderer.show(&world.snapshot()).unwrap();
            CAMERA_NAMES.map(|camera| renderer.jpeg(camera).unwrap())
        };
        let mut used = Renderer::new().unwrap();
        let plain = pictures(&mut used, false, 5);
        let varied = pictures(&mut used, true, 5);
        pictures(&mut used, true, 6);
        for camera in 0..CAMERA_NAMES.len() {
            assert_ne!(plain[camera], varied[camera]);
        }
        let mut fresh = Renderer::new().unwrap();
        assert!(pictures(&mut fresh, true, 5) == varied, "a fresh renderer");
        assert!(pictures(&mut used, true, 5) == varied, "a used renderer");
        assert!(
            pictures(&mut used, false, 5) == plain,
            "back to the scene as it is"
        );
    }

    #[test]
    fn a_snapshot_of_another_scene_is_refused() {
        let mut renderer = Renderer::new().unwrap();
        let error = renderer
            .show(&WorldSnapshot {
                time_s: 0.0,
                qpos: vec![0.0; 5],
                variation: None,
            })
            .unwrap_err();
        assert!(
            matches!(
                error,
                SimError::SnapshotLength {
                    expected: 29,
                    actual: 5
                }
            ),
            "{error}"
        );
    }
}
