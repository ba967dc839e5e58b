//! The CUDA device as far as the engine needs it: one stream for the graphs that work together and for their copies,
//! waiting for it, and points of time in it.
//!
//! Decides where the CUDA libraries are looked for, whether there is a device at all, and that nobody allocates while a run
//! is captured. Does not decide what runs there or when something is copied ([`crate::bind`] does), and starts no graph.
//!
//! Everything in one stream runs in the order it was put there, so a copy, the graph that reads it and the graph that
//! reads that one's output need no waiting in between: the host puts a whole chunk there and waits once, at its end.
//!
//! Functions and their numbers are those of the CUDA Runtime API reference, sections "Stream Management", "Memory
//! Management" and "Event Management"; they have not changed from CUDA 12 to 13.

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    mem::ManuallyDrop,
    path::Path,
    sync::{
        OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use libloading::os::unix::{Library, RTLD_LAZY};
use ort::{
    ep::{CUDA, ExecutionProvider},
    logging::LogLevel,
};

use crate::{library::OnnxRuntime, session::builder};

/// The CUDA runtimes that an ONNX Runtime is built against, by the name it loads them.
const RUNTIMES: [&str; 2] = ["libcudart.so.13", "libcudart.so.12"];
/// How the names of CUDA's libraries begin that ONNX Runtime's provider asks for, and of those that these need.
const LIBRARIES: [&str; 7] = [
    "libcudart",
    "libcublas",
    "libcurand",
    "libcufft",
    "libnvrtc",
    "libnvJitLink",
    "libcudnn",
];
/// `RTLD_NOLOAD`: only what is loaded already.
const LOADED_ONLY: c_int = 4;
/// `cudaStreamNonBlocking`: does not wait for the default stream.
const NON_BLOCKING: c_uint = 1;
/// `cudaMemcpyHostToDevice`.
const TO_DEVICE: c_int = 1;
/// `cudaMemcpyDeviceToHost`.
const TO_HOST: c_int = 2;

type Handle = *mut c_void;

/// The functions that are called.
struct Calls {
    create_stream: unsafe extern "C" fn(*mut Handle, c_uint) -> c_int,
    wait: unsafe extern "C" fn(Handle) -> c_int,
    copy: unsafe extern "C" fn(Handle, *const c_void, usize, c_int, Handle) -> c_int,
    create_event: unsafe extern "C" fn(*mut Handle) -> c_int,
    record_event: unsafe extern "C" fn(Handle, Handle) -> c_int,
    between_events: unsafe extern "C" fn(*mut f32, Handle, Handle) -> c_int,
    destroy_event: unsafe extern "C" fn(Handle) -> c_int,
    memory: unsafe extern "C" fn(*mut usize, *mut usize) -> c_int,
    explain: unsafe extern "C" fn(c_int) -> *const c_char,
}

/// A run that is captured, or whatever may not happen meanwhile: CUDA ends a capture when another thread allocates.
static CAPTURE: RwLock<()> = RwLock::new(());

/// While this is held, nothing is captured.
pub(crate) fn calm() -> RwLockReadGuard<'static, ()> {
    CAPTURE.read().unwrap_or_else(PoisonError::into_inner)
}

/// While this is held, whoever asks for [`calm`] waits.
pub(crate) fn capturing() -> RwLockWriteGuard<'static, ()> {
    CAPTURE.write().unwrap_or_else(PoisonError::into_inner)
}

/// A stream.
pub(crate) struct Stream {
    calls: &'static Calls,
    handle: Handle,
    /// Times that the host has waited for everything in it.
    waits: AtomicU64,
}

// SAFETY: the CUDA runtime may be called from any thread, and a stream handle may be used from all of them.
unsafe impl Send for Stream {}
// SAFETY: as above; the handle is never replaced.
unsafe impl Sync for Stream {}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("waits", &self.waits)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// A new stream; or why there is none: libraries that are missing, no driver, no device. It lives as long as the
    /// process, since sessions, buffers and bindings that hold on to it end in any order; a process makes few.
    pub fn new(runtime: &OnnxRuntime) -> Result<&'static Self, String> {
        // A process has one ONNX Runtime and so one answer.
        static CALLS: OnceLock<Result<Calls, String>> = OnceLock::new();
        let calls = CALLS.get_or_init(|| Calls::load(runtime));
        let calls = calls.as_ref().map_err(Clone::clone)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the function is CUDA's and writes one handle.
        let status = unsafe { (calls.create_stream)(&raw mut handle, NON_BLOCKING) };
        calls.check("a stream", status)?;
        Ok(Box::leak(Box::new(Self {
            calls,
            handle,
            waits: AtomicU64::new(0),
        })))
    }

    /// The `cudaStream_t`.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Times that the host has waited for everything in the stream.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Acquire)
    }

    /// Bytes of the device's memory that are taken, by whomever; `None` where it does not say.
    pub fn memory_used(&self) -> Option<u64> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the function is CUDA's and writes two numbers.
        let status = unsafe { (self.calls.memory)(&raw mut free, &raw mut total) };
        (status == 0).then(|| total.saturating_sub(free) as u64)
    }

    /// Returns when everything that was put into the stream is done.
    pub fn wait(&self) -> Result<(), String> {
        // SAFETY: the stream lives as long as the process.
        let status = unsafe { (self.calls.wait)(self.handle) };
        self.waits.fetch_add(1, Ordering::AcqRel);
        self.calls.check("waiting for the device", status)
    }

    /// Puts a copy to the device into the stream.
    ///
    /// # Safety
    /// `to` is device memory and `from` host memory of so many bytes, both alive, and `from` unchanged, until
    /// [`Stream::wait`] returns.
    pub unsafe fn upload(
        &self,
        to: Handle,
        from: *const c_void,
        bytes: usize,
    ) -> Result<(), String> {
        // SAFETY: the caller's promise.
        let status = unsafe { (self.calls.copy)(to, from, bytes, TO_DEVICE, self.handle) };
        self.calls.check("a copy to the device", status)
    }

    /// Puts a copy from the device into the stream.
    ///
    /// # Safety
    /// `to` is host memory and `from` device memory of so many bytes, both alive, and `to` unused, until
    /// [`Stream::wait`] returns.
    pub unsafe fn download(
        &self,
        to: Handle,
        from: *const c_void,
        bytes: usize,
    ) -> Result<(), String> {
        // SAFETY: the caller's promise.
        let status = unsafe { (self.calls.copy)(to, from, bytes, TO_HOST, self.handle) };
        self.calls.check("a copy from the device", status)
    }
}

/// What ONNX Runtime said, without the file and the function of its own that stand before it.
pub(crate) fn one_line(said: &str) -> &str {
    said.rsplit("FAIL : ").next().unwrap_or(said).trim()
}

/// Why the library at `path` has no CUDA, and what to do, in one line.
fn unusable(path: &Path, said: &str) -> String {
    let said = one_line(said);
    let advice = match said.contains("libcuda.so.1") {
        true => "that is the NVIDIA driver's, which is not installed here",
        false => "`./launch/setup --cuda` gets ONNX Runtime for CUDA, and CUDA's libraries",
    };
    format!("{said} (ONNX Runtime from {}; {advice})", path.display())
}

impl Calls {
    /// Has ONNX Runtime load its CUDA provider, and with it CUDA; a device is not looked for.
    fn load(runtime: &OnnxRuntime) -> Result<Self, String> {
        if let Some(folder) = runtime.path().parent() {
            preload(folder);
        }
        let mut builder = builder(runtime, 1)?;
        let registered = CUDA::default().register(&mut builder);
        registered.map_err(|e| unusable(runtime.path(), &e.to_string()))?;
        // Every graph would be said to hold shapes that are computed on the CPU, and more that holds of all of ours.
        runtime.environment().set_log_level(LogLevel::Error);
        // SAFETY: nothing is loaded that is not loaded already, so no initialiser runs.
        let open = |name: &str| unsafe { Library::open(Some(name), RTLD_LAZY | LOADED_ONLY).ok() };
        let library = RUNTIMES.into_iter().find_map(open).ok_or_else(|| {
            let known = RUNTIMES.join(" or ");
            format!("ONNX Runtime's CUDA provider did not load {known}")
        })?;
        // Never closed: the provider keeps it for the life of the process.
        let library = ManuallyDrop::new(library);
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the signature is the one that the CUDA Runtime API documents under this name.
                unsafe {
                    *library
                        .get(concat!($name, "\0").as_bytes())
                        .map_err(|_| concat!("the CUDA runtime has no ", $name).to_owned())?
                }
            };
        }
        Ok(Self {
            create_stream: function!("cudaStreamCreateWithFlags"),
            wait: function!("cudaStreamSynchronize"),
            copy: function!("cudaMemcpyAsync"),
            create_event: function!("cudaEventCreate"),
            record_event: function!("cudaEventRecord"),
            between_events: function!("cudaEventElapsedTime"),
            destroy_event: function!("cudaEventDestroy"),
            memory: function!("cudaMemGetInfo"),
            explain: function!("cudaGetErrorString"),
        })
    }

    fn check(&self, what: &str, status: c_int) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: CUDA returns a static text for every number.
        let text = unsafe { (self.explain)(status) };
        let text = match text.is_null() {
            true => "unknown error".into(),
            // SAFETY: not null, and ends in a nul.
            false => unsafe { CStr::from_ptr(text) }.to_string_lossy(),
        };
        Err(format!("{what}: CUDA error {status}: {text}"))
    }
}

/// Loads CUDA's libraries that lie beside ONNX Runtime, where `./launch/setup --cuda` places CUDA's libraries. The provider asks the
/// loader for them by name, which finds a library that is loaded wherever it lies. They need each other, so those that
/// fail are tried again as long as any succeeds; what is still missing then, the provider names.
fn preload(folder: &Path) {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_library =
        |name: &str| name.contains(".so.") && LIBRARIES.iter().any(|known| name.starts_with(known));
    let mut left: Vec<_> = files
        .filter(|file| is_library(&file.file_name().to_string_lossy()))
        .map(|file| file.path())
        .collect();
    left.sort();
    loop {
        let before = left.len();
        left.retain(|file| {
            // SAFETY: as in `library::version`: it lies beside the library the operator chose.
            match unsafe { libloading::Library::new(file) } {
                Ok(library) => {
                    let _ = ManuallyDrop::new(library);
                    false
                }
                Err(_) => true,
            }
        });
        if left.is_empty() || left.len() == before {
            return;
        }
    }
}

/// Points in the stream, and the time that passed on the device between two of them.
#[derive(Debug)]
pub struct Laps {
    stream: &'static Stream,
    events: Vec<Handle>,
}

// SAFETY: events may be used from any thread, like the stream.
unsafe impl Send for Laps {}

impl Laps {
    pub(crate) fn new(stream: &'static Stream, points: usize) -> Result<Self, String> {
        let mut events = Vec::with_capacity(points);
        for _ in 0..points {
            let mut event = std::ptr::null_mut();
            // SAFETY: the function is CUDA's and writes one handle.
            let status = unsafe { (stream.calls.create_event)(&raw mut event) };
            stream.calls.check("an event", status)?;
            events.push(event);
        }
        Ok(Self { stream, events })
    }

    /// Puts point `index` into the stream, behind everything that is in it. Says nothing where there is no such point.
    pub fn mark(&self, index: usize) {
        if let Some(event) = self.events.get(index) {
            // SAFETY: event and stream are alive. A failure shows when the lap is read.
            unsafe { (self.stream.calls.record_event)(*event, self.stream.handle) };
        }
    }

    /// Time on the device from point `from` to point `to`, both of which it has passed; `None` where it has not.
    pub fn between(&self, from: usize, to: usize) -> Option<Duration> {
        let (from, to) = (self.events.get(from)?, self.events.get(to)?);
        let mut ms = 0.0_f32;
        // SAFETY: both events are alive; CUDA writes one number.
        let status = unsafe { (self.stream.calls.between_events)(&raw mut ms, *from, *to) };
        (status == 0).then(|| Duration::try_from_secs_f64(f64::from(ms) / 1e3).ok())?
    }
}

impl Drop for Laps {
    fn drop(&mut self) {
        for event in &self.events {
            // SAFETY: each was made here and is given back once.
            unsafe { (self.stream.calls.destroy_event)(*event) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_without_cuda_is_told_in_one_line_what_to_do() {
        let path = Path::new("/lib/libonnxruntime.so");
        assert_eq!(
            unusable(
                path,
                "CUDA execution provider is not enabled in this build. "
            ),
            "CUDA execution provider is not enabled in this build. (ONNX Runtime from /lib/libonnxruntime.so; \
             `./launch/setup --cuda` gets ONNX Runtime for CUDA, and CUDA's libraries)"
        );
        let said = "/src/bridge.cc:2043 Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library p.so with error: \
                    libcuda.so.1: cannot open shared object file\n";
        assert_eq!(
            unusable(path, said),
            "Failed to load library p.so with error: libcuda.so.1: cannot open shared object file (ONNX Runtime from \
             /lib/libonnxruntime.so; that is the NVIDIA driver's, which is not installed here)"
        );
    }
}
