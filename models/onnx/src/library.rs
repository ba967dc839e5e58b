//! Finding and loading `libonnxruntime.so`.
//!
//! Order: the explicit path if there is one, and nothing else then; otherwise
//! `third_party/onnxruntime/libonnxruntime.so` under the folder of the executable or any folder above it, so that a
//! binary in `target/debug` and a test in `target/debug/deps` find the checkout's library. For a GPU,
//! `third_party/onnxruntime-gpu/` is looked for first, in all of these. No environment variable is read. `ort` panics when
//! it is used before a library is loaded; [`OnnxRuntime`] is the proof that one is.

use std::{
    ffi::CStr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ort::{environment::Environment, logging::LogLevel};
use tactus_bundle::OrtVersion;

use crate::{error::OnnxError, session::Provider};

/// Where the library lies below a checkout.
const RELATIVE: &str = "third_party/onnxruntime/libonnxruntime.so";
/// And the one that was built for GPUs, which runs graphs on the CPU as well.
const RELATIVE_GPU: &str = "third_party/onnxruntime-gpu/libonnxruntime.so";

/// A process has one ONNX Runtime, from its first load to its end.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

/// The loaded library.
#[derive(Debug, Clone)]
pub struct OnnxRuntime {
    environment: Environment,
    path: PathBuf,
    version: OrtVersion,
}

impl OnnxRuntime {
    /// Loads the library for `provider`, or returns the one this process has loaded before, whatever that was for.
    ///
    /// # Errors
    /// [`OnnxError::LibraryNotFound`] with every place that was looked at; [`OnnxError::Library`] for a file that is
    /// not ONNX Runtime; [`OnnxError::LibraryVersion`] for one that is too old; [`OnnxError::AlreadyLoaded`] when
    /// `path` is not the library in use.
    pub fn load(path: Option<&Path>, provider: Provider) -> Result<Self, OnnxError> {
        // The guarded value is only ever replaced as a whole, so a poisoned lock holds a good value.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = loaded.as_ref() {
            return match path {
                Some(asked) if !same_file(asked, &runtime.path) => Err(OnnxError::AlreadyLoaded {
                    loaded: runtime.path.clone(),
                    asked: asked.to_path_buf(),
                }),
                _ => Ok(runtime.clone()),
            };
        }
        let runtime = Self::load_file(find(path, provider)?)?;
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    fn load_file(path: PathBuf) -> Result<Self, OnnxError> {
        let version = version(&path)?;
        let lowest = OrtVersion {
            major: 1,
            minor: ort::MINOR_VERSION,
        };
        if version < lowest {
            let (expected, actual) = (lowest.to_string(), version.to_string());
            return Err(OnnxError::LibraryVersion {
                path,
                expected,
                actual,
            });
        }
        let builder = ort::init_from(&path).map_err(|error| OnnxError::Library {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        match builder.with_name("tactus").with_telemetry(false).build() {
            Ok(environment) => {
                // Without this every message of the library is formatted, then thrown away.
                environment.set_log_level(LogLevel::Warning);
                Ok(Self {
                    environment,
                    path,
                    version,
                })
            }
            Err(error) => Err(OnnxError::Environment {
                path,
                reason: error.to_string(),
            }),
        }
    }

    /// File it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Version of the library.
    pub fn version(&self) -> OrtVersion {
        self.version
    }

    /// Checks the library against a bundle's `min_ort`.
    ///
    /// # Errors
    /// [`OnnxError::LibraryVersion`].
    pub fn at_least(&self, lowest: OrtVersion) -> Result<(), OnnxError> {
        match self.version >= lowest {
            true => Ok(()),
            false => Err(OnnxError::LibraryVersion {
                path: self.path.clone(),
                expected: lowest.to_string(),
                actual: self.version.to_string(),
            }),
        }
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// The file to load: absolute, and there.
fn find(path: Option<&Path>, provider: Provider) -> Result<PathBuf, OnnxError> {
    let program = std::env::current_exe().unwrap_or_default();
    let below = |relative: &'static str| {
        let folders = program.ancestors().skip(1);
        folders.map(move |folder| folder.join(relative))
    };
    let searched: Vec<PathBuf> = match (path, provider) {
        (Some(path), _) => vec![path.to_path_buf()],
        (None, Provider::Cpu) => below(RELATIVE).collect(),
        (None, Provider::Cuda | Provider::TensorRt) => {
            below(RELATIVE_GPU).chain(below(RELATIVE)).collect()
        }
    };
    let absolute = searched
        .iter()
        .find(|path| path.is_file())
        .and_then(|path| std::path::absolute(path).ok());
    absolute.ok_or(OnnxError::LibraryNotFound { searched })
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// Version that the library at `path` reports. Leaves it loaded, which costs nothing: `ort` loads the same file next.
fn version(path: &Path) -> Result<OrtVersion, OnnxError> {
    let error = |reason: String| OnnxError::Library {
        path: path.to_path_buf(),
        reason,
    };
    // SAFETY: running a library's initialisers is unsafe in principle; `path` is the library the operator chose.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| error(e.to_string()))?;
    // SAFETY: `OrtGetApiBase` has had this signature in every release of ONNX Runtime; a library that exports the
    // name is one.
    let base = unsafe {
        library
            .get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase")
            .map_err(|_| error("it does not export `OrtGetApiBase`".into()))?()
    };
    if base.is_null() {
        return Err(error("`OrtGetApiBase` returned nothing".into()));
    }
    // SAFETY: not null, and valid for the life of the library, which `library` keeps loaded here.
    let text = unsafe { ((*base).GetVersionString)() };
    if text.is_null() {
        return Err(error("`GetVersionString` returned nothing".into()));
    }
    // SAFETY: not null; ONNX Runtime documents a static, nul-terminated string.
    let text = unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned();
    OrtVersion::parse(&text)
        .ok_or_else(|| error(format!("expected a version such as 1.24.0, got `{text}`")))
}
