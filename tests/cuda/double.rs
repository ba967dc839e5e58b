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
//! With `CUDA_DOUBLE_DEVICES=0` there is a driver and no device. Device memory is pages that the host may not touch but
//! through copies, so a pointer that is followed where it must not be ends the process.
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

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    fs::File,
    io::Write as _,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

type Pointer = *mut c_void;

const OK: c_int = 0;
/// `cudaErrorInvalidValue`, `cudaErrorMemoryAllocation`, `cudaErrorNoDevice`, `cudaErrorStreamCaptureUnsupported`.
const INVALID: c_int = 1;
const NO_MEMORY: c_int = 2;
const NO_DEVICE: c_int = 100;
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
                CAPTURING => c"operation not permitted when stream is capturing",
                _ => c"some error",
            }.as_ptr()
        }
    )* };
}

nothing_to_do! {
    __cudaRegisterFatBinaryEnd __cudaRegisterVar __cudaUnregisterFatBinary cuTensorMapEncodeTiled cudaEventDestroy
    cudaEventRecordWithFlags cudaFuncSetAttribute cudaGetLastError cudaPeekAtLastError cudaGraphDestroy
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

// --- kernels ---------------------------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
extern "C" fn __cudaRegisterFatBinary(_: Pointer) -> *mut Pointer {
    Box::leak(Box::new(std::ptr::null_mut()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __cudaRegisterFunction(
    _: Pointer,
    function: Pointer,
    _: Pointer,
    name: *const c_char,
) {
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    double().kernels.insert(function.addr(), name.into_owned());
}

#[unsafe(no_mangle)]
extern "C" fn __cudaPushCallConfiguration(
    grid: Dim3,
    block: Dim3,
    shared: usize,
    stream: usize,
) -> c_uint {
    double().pushed.push((grid, block, shared, stream));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __cudaPopCallConfiguration(
    grid: *mut Dim3,
    block: *mut Dim3,
    shared: *mut usize,
    stream: *mut usize,
) -> c_int {
    let Some(pushed) = double().pushed.pop() else {
        return INVALID;
    };
    unsafe { (*grid, *block, *shared, *stream) = pushed };
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __cudaGetKernel(out: *mut Pointer, function: Pointer) -> c_int {
    unsafe { *out = function };
    OK
}

fn launch(function: Pointer, stream: usize) -> c_int {
    let name = double().kernels.get(&function.addr()).cloned();
    put(stream, &format!("kernel {}", name.unwrap_or_default()));
    OK
}

macro_rules! launches {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name(function: Pointer, _: Dim3, _: Dim3, _: Pointer, _: usize, stream: usize) -> c_int {
            launch(function, stream)
        }
    )* };
}

launches! { __cudaLaunchKernel cudaLaunchKernel cudaLaunchCooperativeKernel }

/// `cudaLaunchConfig_t`.
#[repr(C)]
struct LaunchConfig {
    grid: Dim3,
    block: Dim3,
    shared: usize,
    stream: usize,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaLaunchKernelExC(config: *const LaunchConfig, function: Pointer) -> c_int {
    launch(function, unsafe { (*config).stream })
}

#[unsafe(no_mangle)]
extern "C" fn cudaLaunchHostFunc(
    stream: usize,
    function: extern "C" fn(Pointer),
    with: Pointer,
) -> c_int {
    put(stream, "host function");
    function(with);
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetStream_v2(_: Pointer, stream: usize) -> c_int {
    BLAS.store(stream, Ordering::Relaxed);
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasGetMathMode(_: Pointer, out: *mut c_int) -> c_int {
    unsafe { *out = 0 };
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmul(
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: usize,
    stream: usize,
) -> c_int {
    put(stream, "kernel cublasLtMatmul");
    OK
}

/// One way to multiply, `cublasLtMatmulHeuristicResult_t` of zeros.
#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtMatmulAlgoGetHeuristic(
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: Pointer,
    _: c_int,
    results: *mut u8,
    found: *mut c_int,
) -> c_int {
    unsafe {
        results.write_bytes(0, 96);
        *found = 1;
    }
    OK
}

// --- the device ------------------------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaGetDeviceCount(out: *mut c_int) -> c_int {
    unsafe { *out = devices() };
    if devices() == 0 { NO_DEVICE } else { OK }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaGetDevice(out: *mut c_int) -> c_int {
    unsafe { *out = 0 };
    if devices() == 0 { NO_DEVICE } else { OK }
}

#[unsafe(no_mangle)]
extern "C" fn cudaSetDevice(_: c_int) -> c_int {
    if devices() == 0 { NO_DEVICE } else { OK }
}

macro_rules! is_cuda_13 {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(out: *mut c_int) -> c_int {
            unsafe { *out = 13000 };
            OK
        }
    )* };
}

is_cuda_13! { cudaDriverGetVersion cudaRuntimeGetVersion }

/// Compute capability 9.0, 132 multiprocessors.
#[unsafe(no_mangle)]
unsafe extern "C" fn cudaDeviceGetAttribute(out: *mut c_int, which: c_int, _: c_int) -> c_int {
    let value = match which {
        1..=3 | 39 => 1024,
        4 => 64,
        5 => c_int::MAX,
        6 | 7 | 12 | 82 => 65_535,
        8 => 49_152,
        10 | 106 => 32,
        16 => 132,
        75 => 9,
        76 => 0,
        81 => 233_472,
        97 => 232_448,
        _ => 1,
    };
    unsafe { *out = value };
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaGetDeviceProperties(out: *mut u8, _: c_int) -> c_int {
    let words: [(usize, i32); 18] = [
        (304, 65_536),
        (308, 32),
        (320, 1024),
        (324, 1024),
        (328, 1024),
        (332, 64),
        (336, i32::MAX),
        (340, 65_535),
        (344, 65_535),
        (360, 9),
        (384, 132),
        (560, 1),
        (588, 1),
        (596, 50 << 20),
        (604, 2048),
        (632, 65_536),
        (668, 1),
        (688, 32),
    ];
    let long: [(usize, u64); 5] = [
        (288, MEMORY as u64),
        (296, 49_152),
        (352, 65_536),
        (624, 233_472),
        (672, 232_448),
    ];
    unsafe {
        out.write_bytes(0, 1008);
        for (at, value) in words {
            out.add(at).cast::<i32>().write(value);
        }
        for (at, value) in long {
            out.add(at).cast::<u64>().write(value);
        }
    }
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaGetDriverEntryPointByVersion(
    _: *const c_char,
    out: *mut *const c_void,
    _: c_uint,
    _: u64,
    status: *mut c_int,
) -> c_int {
    unsafe {
        *out = cuTensorMapEncodeTiled as *const c_void;
        if !status.is_null() {
            *status = 0;
        }
    }
    OK
}

/// `cudaFuncAttributes`, of which the threads are asked.
#[unsafe(no_mangle)]
unsafe extern "C" fn cudaFuncGetAttributes(out: *mut u8, _: Pointer) -> c_int {
    unsafe {
        out.write_bytes(0, 144);
        out.add(24).cast::<i32>().write(1024);
    }
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    out: *mut c_int,
) -> c_int {
    unsafe { *out = 1 };
    OK
}

// --- memory ----------------------------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaMemGetInfo(free: *mut usize, total: *mut usize) -> c_int {
    let taken: usize = double().device.values().sum();
    unsafe { (*free, *total) = (MEMORY.saturating_sub(taken), MEMORY) };
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaMalloc(out: *mut Pointer, n: usize) -> c_int {
    if refused("cudaMalloc") {
        return CAPTURING;
    }
    let at = pages(n, NOTHING);
    if at.is_null() {
        return NO_MEMORY;
    }
    double().device.insert(at.addr(), n);
    unsafe { *out = at };
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaMallocFromPoolAsync(out: *mut Pointer, n: usize) -> c_int {
    unsafe { cudaMalloc(out, n) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaMallocHost(out: *mut Pointer, n: usize) -> c_int {
    if refused("cudaMallocHost") {
        return CAPTURING;
    }
    let at = pages(n, ALL);
    if at.is_null() {
        return NO_MEMORY;
    }
    double().locked.insert(at.addr(), n);
    unsafe { *out = at };
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaHostAlloc(out: *mut Pointer, n: usize) -> c_int {
    unsafe { cudaMallocHost(out, n) }
}

fn free(of: fn(&mut Double) -> &mut BTreeMap<usize, usize>, at: Pointer) -> c_int {
    let n = of(&mut double()).remove(&at.addr());
    if let Some(n) = n {
        unsafe { munmap(at, n.max(1).next_multiple_of(PAGE)) };
    }
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaFree(at: Pointer) -> c_int {
    if refused("cudaFree") {
        return CAPTURING;
    }
    free(|double| &mut double.device, at)
}

#[unsafe(no_mangle)]
extern "C" fn cudaFreeAsync(at: Pointer, _: usize) -> c_int {
    cudaFree(at)
}

#[unsafe(no_mangle)]
extern "C" fn cudaFreeHost(at: Pointer) -> c_int {
    free(|double| &mut double.locked, at)
}

/// `cudaPointerAttributes`: type, device, the pointer on the device, the pointer on the host.
#[unsafe(no_mangle)]
unsafe extern "C" fn cudaPointerGetAttributes(out: *mut u8, at: Pointer) -> c_int {
    let double = double();
    let (kind, offset) = if whose(&double.device, at.addr()) {
        (2, 8)
    } else if whose(&double.locked, at.addr()) {
        (1, 16)
    } else {
        (0, 16)
    };
    unsafe {
        out.write_bytes(0, 88);
        out.cast::<c_int>().write(kind);
        out.add(offset).cast::<Pointer>().write(at);
    }
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaMemcpy(to: Pointer, from: Pointer, n: usize, kind: c_int) -> c_int {
    if refused("cudaMemcpy") {
        return CAPTURING;
    }
    log(&format!("sync {} {n}", direction(kind, to, from)));
    copy(to, from, n);
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaMemcpyAsync(
    to: Pointer,
    from: Pointer,
    n: usize,
    kind: c_int,
    stream: usize,
) -> c_int {
    put(stream, &format!("{} {n}", direction(kind, to, from)));
    if !double().captures.contains_key(&stream) {
        copy(to, from, n);
    }
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaMemcpy2DAsync(
    to: Pointer,
    _: usize,
    from: Pointer,
    _: usize,
    width: usize,
    height: usize,
    kind: c_int,
    stream: usize,
) -> c_int {
    let what = direction(kind, to, from);
    put(stream, &format!("{what} {}", width * height));
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaMemset(at: Pointer, value: c_int, n: usize) -> c_int {
    if refused("cudaMemset") {
        return CAPTURING;
    }
    log(&format!("sync set {n}"));
    opened(at, n, || unsafe {
        at.cast::<u8>().write_bytes(value as u8, n)
    });
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaMemsetAsync(at: Pointer, value: c_int, n: usize, stream: usize) -> c_int {
    put(stream, &format!("set {n}"));
    if !double().captures.contains_key(&stream) {
        opened(at, n, || unsafe {
            at.cast::<u8>().write_bytes(value as u8, n)
        });
    }
    OK
}

// --- streams, events, captures ---------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
extern "C" fn cudaDeviceSynchronize() -> c_int {
    if refused("cudaDeviceSynchronize") {
        return CAPTURING;
    }
    log("device wait");
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaStreamSynchronize(stream: usize) -> c_int {
    if double().captures.contains_key(&stream) {
        log("refused cudaStreamSynchronize");
        return CAPTURING;
    }
    log(&format!("{stream} wait"));
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaEventSynchronize(_: usize) -> c_int {
    if refused("cudaEventSynchronize") {
        return CAPTURING;
    }
    log("event wait");
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaEventRecord(_: usize, stream: usize) -> c_int {
    put(stream, "event");
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaStreamWaitEvent(stream: usize, _: usize, _: c_uint) -> c_int {
    put(stream, "after event");
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaEventElapsedTime(out: *mut f32, _: usize, _: usize) -> c_int {
    unsafe { *out = 0.01 };
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaStreamBeginCapture(stream: usize, _: c_int) -> c_int {
    let capture = handle();
    double().captures.insert(stream, capture);
    log(&format!("{stream} begin {capture}"));
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaStreamEndCapture(stream: usize, out: *mut usize) -> c_int {
    let Some(capture) = double().captures.remove(&stream) else {
        return INVALID;
    };
    log(&format!("{stream} end {capture}"));
    unsafe { *out = capture };
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaStreamIsCapturing(stream: usize, out: *mut c_int) -> c_int {
    let capturing = double().captures.contains_key(&stream);
    unsafe { *out = c_int::from(capturing) };
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudaGraphInstantiate(out: *mut usize, capture: usize, _: u64) -> c_int {
    unsafe { *out = capture };
    OK
}

#[unsafe(no_mangle)]
extern "C" fn cudaGraphLaunch(capture: usize, stream: usize) -> c_int {
    let operations = double().operations.get(&capture).copied();
    let operations = operations.unwrap_or_default();
    put(stream, &format!("launch {capture} {operations}"));
    OK
}
