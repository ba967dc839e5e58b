//! A double of CUDA that computes nothing, for machines without a GPU: the functions that ONNX Runtime's own CUDA provider
//! calls, by name, so that this provider runs, and with it everything of ours that talks to a device.
//!
//! What it shows: which nodes of a graph the provider takes, whether it captures them, what is copied where and when, what is
//! waited for, and that the host never touches the device's memory. What it does not show: numbers (kernels do nothing, so
//! outputs are zeros) and speed. Whether the signatures are CUDA's is shown by the provider, which is not ours, running on it.
//!
//! Everything that reaches the device is a line in the file that `CUDA_DOUBLE_LOG` names:
//!
//! ```text
//! 1 upload 448            stream 1: so many bytes to the device; download, move and set likewise; `sync` where the host waits
//! 1 kernel NAME           a kernel, or a function of cuBLAS
//! 1 captured 3 kernel ..  the same, into capture 3 instead of the device
//! 1 launch 3 198          capture 3 and how many operations are in it
//! 1 wait                  the host waits for the stream; `device wait`, `event wait`
//! refused NAME            what CUDA forbids while a stream is being captured
//! ```
//!
//! With `CUDA_DOUBLE_DEVICES=0` there is a driver and no device; with `CUDA_DOUBLE_KERNELS=0` a device that is too old for every
//! kernel. Device memory is pages that the host may not touch but through copies, so a pointer that is followed where it must
//! not be ends the process.
//!
//! The numbers are those of the CUDA 13 headers: `driver_types.h` (error codes, copy kinds, attributes, offsets in
//! `cudaDeviceProp`), `cublasLt.h`.
#![allow(
    non_snake_case,
    reason = "the names are those of the library that this stands for"
)]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every pointer here is one that the CUDA provider passes by CUDA's own rules"
)]

mod device;
mod kernels;
mod memory;
mod streams;

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    fs::File,
    io::Write as _,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicI32, AtomicUsize, Ordering},
    },
};

type Pointer = *mut c_void;

const OK: c_int = 0;
/// `cudaErrorInvalidValue`, `cudaErrorMemoryAllocation`, `cudaErrorNoDevice`, `cudaErrorNoKernelImageForDevice`,
/// `cudaErrorStreamCaptureUnsupported`.
const INVALID: c_int = 1;
const NO_MEMORY: c_int = 2;
const NO_DEVICE: c_int = 100;
const NO_KERNEL: c_int = 209;
const CAPTURING: c_int = 900;

const MEMORY: usize = 16 << 30;
const PAGE: usize = 4096;

#[repr(C)]
#[derive(Clone, Copy)]
struct Dim3 {
    x: c_uint,
    y: c_uint,
    z: c_uint,
}

#[derive(Default)]
struct Double {
    kernels: HashMap<usize, String>,
    pushed: Vec<(Dim3, Dim3, usize, usize)>,
    next: usize,
    /// Stream to the capture that is being made in it.
    captures: HashMap<usize, usize>,
    /// Operations of every capture.
    operations: HashMap<usize, usize>,
    /// Start to length.
    device: BTreeMap<usize, usize>,
    locked: BTreeMap<usize, usize>,
}

fn double() -> MutexGuard<'static, Double> {
    static DOUBLE: OnceLock<Mutex<Double>> = OnceLock::new();
    let double = DOUBLE.get_or_init(Mutex::default);
    double.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log(line: &str) {
    static FILE: OnceLock<Option<Mutex<File>>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let path = std::env::var_os("CUDA_DOUBLE_LOG")?;
        let file = File::options().create(true).append(true).open(path);
        file.ok().map(Mutex::new)
    });
    if let Some(file) = file {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

fn devices() -> c_int {
    let said = std::env::var("CUDA_DOUBLE_DEVICES").ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(1)
}

fn handle() -> usize {
    let mut double = double();
    double.next += 1;
    double.next
}

/// Something that is put into a stream: onto the device, or into the capture that is being made.
fn put(stream: usize, what: &str) {
    let capture = {
        let mut double = double();
        let capture = double.captures.get(&stream).copied();
        if let Some(capture) = capture {
            *double.operations.entry(capture).or_default() += 1;
        }
        capture
    };
    match capture {
        Some(capture) => log(&format!("{stream} captured {capture} {what}")),
        None => log(&format!("{stream} {what}")),
    }
}

/// What may not be done while any stream is being captured.
fn refused(name: &str) -> bool {
    let capturing = !double().captures.is_empty();
    if capturing {
        log(&format!("refused {name}"));
    }
    capturing
}

unsafe extern "C" {
    fn mmap(at: Pointer, n: usize, may: c_int, flags: c_int, fd: c_int, offset: i64) -> Pointer;
    fn munmap(at: Pointer, n: usize) -> c_int;
    fn mprotect(at: Pointer, n: usize, may: c_int) -> c_int;
}
const NOTHING: c_int = 0;
const ALL: c_int = 3;

/// Zeroed pages that `may` be used so; null where there are none.
fn pages(n: usize, may: c_int) -> Pointer {
    let n = n.max(1).next_multiple_of(PAGE);
    // MAP_PRIVATE | MAP_ANONYMOUS
    let at = unsafe { mmap(std::ptr::null_mut(), n, may, 0x22, -1, 0) };
    if at.addr() == usize::MAX {
        return std::ptr::null_mut();
    }
    at
}

fn whose(of: &BTreeMap<usize, usize>, at: usize) -> bool {
    let before = of.range(..=at).next_back();
    before.is_some_and(|(start, n)| at < start + n)
}

/// Runs `copy` while the device's pages of `at` may be touched.
fn opened(at: Pointer, n: usize, copy: impl FnOnce()) {
    if !whose(&double().device, at.addr()) || n == 0 {
        return copy();
    }
    let start = at.addr() / PAGE * PAGE;
    let length = (at.addr() + n - start).next_multiple_of(PAGE);
    let start = at.with_addr(start);
    unsafe { mprotect(start, length, ALL) };
    copy();
    unsafe { mprotect(start, length, NOTHING) };
}

fn copy(to: Pointer, from: Pointer, n: usize) {
    opened(to, n, || {
        opened(from, n, || unsafe {
            std::ptr::copy(from.cast::<u8>(), to.cast(), n);
        });
    });
}

fn direction(kind: c_int, to: Pointer, from: Pointer) -> &'static str {
    let double = double();
    let on = |at: Pointer| whose(&double.device, at.addr());
    match (kind, on(from), on(to)) {
        (1, _, _) | (4, false, true) => "upload",
        (2, _, _) | (4, true, false) => "download",
        (3, _, _) | (4, true, true) => "move",
        _ => "host",
    }
}

macro_rules! nothing_to_do {
    ($($name:ident)*) => { $( #[unsafe(no_mangle)] extern "C" fn $name() -> c_int { OK } )* };
}

macro_rules! makes_a_handle {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(out: *mut usize) -> c_int {
            if devices() == 0 { return NO_DEVICE; }
            unsafe { *out = handle() };
            OK
        }
    )* };
}

/// The stream that cuBLAS was told last.
static BLAS: AtomicUsize = AtomicUsize::new(0);

macro_rules! multiplies {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> c_int {
            put(BLAS.load(Ordering::Relaxed), concat!("kernel ", stringify!($name)));
            OK
        }
    )* };
}

macro_rules! says {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name(status: c_int) -> *const c_char {
            match status {
                OK => c"no error",
                NO_DEVICE => c"no CUDA-capable device is detected",
                NO_KERNEL => c"no kernel image is available for execution on the device",
                CAPTURING => c"operation not permitted when stream is capturing",
                _ => c"some error",
            }.as_ptr()
        }
    )* };
}

nothing_to_do! {
    __cudaRegisterFatBinaryEnd __cudaRegisterVar __cudaUnregisterFatBinary cuTensorMapEncodeTiled cudaEventDestroy
    cudaEventRecordWithFlags cudaFuncSetAttribute cudaGraphDestroy
    cudaGraphExecDestroy cudaKernelSetAttributeForDevice cudaLibraryUnload cudaMemPoolDestroy cudaMemPoolSetAttribute
    cudaMemPoolGetAttribute cudaMemPoolTrimTo cudaMemcpyFromSymbol cudaStreamDestroy cublasDestroy_v2 cublasSetMathMode
    cublasLtDestroy cublasLtMatmulAlgoConfigSetAttribute cublasLtMatmulAlgoInit cublasLtMatmulDescDestroy
    cublasLtMatmulDescSetAttribute cublasLtMatmulPreferenceDestroy cublasLtMatmulPreferenceSetAttribute
    cublasLtMatrixLayoutDestroy cublasLtMatrixLayoutSetAttribute cublasLtMatrixTransformDescDestroy
}

makes_a_handle! {
    cublasCreate_v2 cublasLtCreate cublasLtMatmulDescCreate cublasLtMatmulPreferenceCreate cublasLtMatrixLayoutCreate
    cublasLtMatrixTransformDescCreate cudaEventCreate cudaEventCreateWithFlags cudaStreamCreate cudaStreamCreateWithFlags
    cudaLibraryLoadData cudaLibraryGetKernel cudaMemPoolCreate
}

multiplies! {
    cublasDgeam cublasDgemmBatched cublasDgemmStridedBatched cublasDgemm_v2 cublasDgetrfBatched cublasDgetriBatched
    cublasGemmBatchedEx cublasGemmEx cublasGemmStridedBatchedEx cublasSgeam cublasSgemmBatched cublasSgemmStridedBatched
    cublasSgemm_v2 cublasSgetrfBatched cublasSgetriBatched cublasScopy_v2 cublasSscal_v2 cublasLtMatrixTransform
}

says! { cudaGetErrorName cudaGetErrorString cublasGetStatusName cublasGetStatusString }
