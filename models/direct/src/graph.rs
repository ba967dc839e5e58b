//! The graph over bound buffers: its inputs and output are checked against the manifest once, when it is opened.
//!
//! Every input has to be declared, as one that is left out would be whatever lies in memory. Outputs beside the chunk are left
//! alone.

use std::time::{Duration, Instant};

use tactus_bundle::{
    DirectBundle, Graph, Precision,
    direct::manifest::{Axis, DirectManifest, PictureElement},
};
use tactus_onnx::{
    Binding, Buffer, Dim, Element, OnnxError, OnnxRuntime, Place, Provider, Session,
    SessionOptions, Side, TensorSpec, after_failed_run, check_tensors, open_all,
};

/// Numbers of an input that takes pictures.
#[derive(Debug)]
pub enum Numbers {
    /// Single precision.
    F32(Buffer<f32>),
    /// Bytes.
    U8(Buffer<u8>),
}

/// An open graph with its buffers.
#[derive(Debug)]
pub struct DirectGraph {
    session: Session,
    binding: Binding,
    /// Inputs that take pictures, by name.
    pub pictures: Vec<(String, Numbers)>,
    /// The input that takes the state.
    pub state: Option<(String, Buffer<f32>)>,
    /// The input that takes noise.
    pub noise: Option<(String, Buffer<f32>)>,
    chunk: Buffer<f32>,
}

/// What each axis of an input counts.
fn count(manifest: &DirectManifest, input: &str, columns: usize) -> impl Fn(Axis) -> usize {
    let sharing = manifest.pictures.iter().filter(|p| p.input == input);
    let (cameras, size) = sharing.fold((0, (1, 1)), |(n, _), p| (n + 1, (p.height, p.width)));
    let steps = manifest.history.steps;
    move |axis| match axis {
        Axis::Batch => 1,
        Axis::Time => steps,
        Axis::Cameras => cameras,
        Axis::Colour => 3,
        Axis::Height => size.0,
        Axis::Width => size.1,
        Axis::Column => columns,
    }
}

/// Every input that the manifest declares, with its shape.
pub fn inputs(manifest: &DirectManifest) -> Vec<(TensorSpec, Vec<usize>)> {
    let spec = |name: &str, element, shape: Vec<usize>| {
        let dims: Vec<Dim> = shape.iter().map(|n| Dim::Is(*n)).collect();
        (TensorSpec::new(name, element, &dims), shape)
    };
    let mut all: Vec<(TensorSpec, Vec<usize>)> = Vec::new();
    for picture in &manifest.pictures {
        if all.iter().any(|(spec, _)| spec.name == picture.input) {
            continue;
        }
        let element = match picture.element {
            PictureElement::U8 => Element::U8,
            PictureElement::F32 => Element::F32,
        };
        let shape = picture.layout.shape(count(manifest, &picture.input, 0));
        all.push(spec(&picture.input, element, shape));
    }
    if let Some(proprio) = &manifest.proprio {
        let columns = manifest.outline.state.columns();
        let shape = proprio
            .layout
            .shape(count(manifest, &proprio.input, columns));
        all.push(spec(&proprio.input, Element::F32, shape));
    }
    if let Some(noise) = &manifest.noise {
        all.push(spec(&noise.input, Element::F32, noise.shape.clone()));
    }
    all
}

/// The output that the manifest declares, with its shape.
pub fn output(manifest: &DirectManifest) -> (TensorSpec, Vec<usize>) {
    let (rows, width) = (manifest.chunk.rows, manifest.outline.action.width);
    let shape = manifest.chunk.layout.shape(|axis| match axis {
        Axis::Batch | Axis::Time | Axis::Cameras => 1,
        Axis::Column => width,
        Axis::Colour | Axis::Height | Axis::Width => rows,
    });
    let dims: Vec<Dim> = shape.iter().map(|n| Dim::Is(*n)).collect();
    (
        TensorSpec::new(&manifest.chunk.output, Element::F32, &dims),
        shape,
    )
}

impl DirectGraph {
    /// Opens the graph of `bundle`; on a device, runs it once, since one with convolutions opens without the library that
    /// makes them, and opens it on the CPU where that fails.
    ///
    /// # Errors
    /// [`OnnxError`] when ONNX Runtime does not take it, or it is not as the manifest says.
    pub fn open(
        bundle: &DirectBundle,
        runtime: &OnnxRuntime,
        mut options: SessionOptions,
    ) -> Result<Self, OnnxError> {
        let manifest = bundle.manifest();
        runtime.at_least(manifest.min_ort)?;
        if manifest.graph.precision == Precision::Bf16 {
            if options.provider == Provider::Cpu {
                return Err(OnnxError::Precision {
                    graph: Graph::Policy.name(),
                });
            }
            // There is nothing to fall back to.
            options.required = true;
        }
        let mut opened = Self::bound(bundle, runtime, options)?;
        if opened.provider() == Provider::Cpu {
            return Ok(opened);
        }
        let Err(error) = opened.run() else {
            return Ok(opened);
        };
        match after_failed_run((opened.provider(), options), &error) {
            Some(instead) => Self::bound(bundle, runtime, instead),
            None => Err(error),
        }
    }

    /// The graph, opened and checked, with its buffers.
    fn bound(
        bundle: &DirectBundle,
        runtime: &OnnxRuntime,
        options: SessionOptions,
    ) -> Result<Self, OnnxError> {
        let manifest = bundle.manifest();
        let graph = Graph::Policy;
        let mut opened = open_all(runtime, &[(graph, bundle.graph_path())], options)?;
        let session = opened.sessions.pop().ok_or_else(|| OnnxError::Run {
            graph: graph.name(),
            reason: "expected one graph".into(),
        })?;
        let inputs = inputs(manifest);
        let specs: Vec<TensorSpec> = inputs.iter().map(|(spec, _)| spec.clone()).collect();
        check_tensors(graph.name(), Side::Input, session.inputs(), &specs)?;
        let (made, shape) = output(manifest);
        // The others are not looked at, but named where this one is missing.
        let is = |spec: &&TensorSpec| spec.name == made.name;
        let found = session.outputs().iter().find(is).map(std::slice::from_ref);
        let found = found.unwrap_or(session.outputs());
        check_tensors(graph.name(), Side::Output, found, &[made])?;

        let mut binding = session.binding()?;
        let (mut pictures, mut state, mut noise) = (Vec::new(), None, None);
        let is_state = |name: &str| manifest.proprio.as_ref().is_some_and(|p| p.input == name);
        for (spec, shape) in inputs {
            let name = spec.name;
            if spec.element == Element::U8 {
                let buffer = session.buffer::<u8>(&name, Place::Host, &shape)?;
                binding.input(&name, &buffer)?;
                pictures.push((name, Numbers::U8(buffer)));
                continue;
            }
            let buffer = session.buffer::<f32>(&name, Place::Host, &shape)?;
            binding.input(&name, &buffer)?;
            if manifest.pictures.iter().any(|p| p.input == name) {
                pictures.push((name, Numbers::F32(buffer)));
            } else if is_state(&name) {
                state = Some((name, buffer));
            } else {
                noise = Some((name, buffer));
            }
        }
        let mut chunk = session.buffer::<f32>(&manifest.chunk.output, Place::Host, &shape)?;
        binding.output(&manifest.chunk.output, &mut chunk)?;
        Ok(Self {
            session,
            binding,
            pictures,
            state,
            noise,
            chunk,
        })
    }

    /// Provider that runs it.
    pub fn provider(&self) -> Provider {
        self.session.provider()
    }

    /// Runs it over what is in the buffers; the time inside ONNX Runtime.
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn run(&mut self) -> Result<Duration, OnnxError> {
        for (name, numbers) in &mut self.pictures {
            match numbers {
                Numbers::F32(buffer) => self.binding.refresh(name, buffer)?,
                Numbers::U8(buffer) => self.binding.refresh(name, buffer)?,
            }
        }
        for (name, buffer) in self.state.iter_mut().chain(&mut self.noise) {
            self.binding.refresh(name, buffer)?;
        }
        let started = Instant::now();
        self.session.run(&self.binding)?;
        self.chunk.fetch()?;
        Ok(started.elapsed())
    }

    /// What the last run made, row by row.
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn chunk(&self) -> Result<&[f32], OnnxError> {
        self.chunk.read()
    }
}
