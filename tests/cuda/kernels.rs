//! Kernels and cuBLAS: each is a line, and nothing is computed.
//!
//! Decides what is written down of what the provider computes with. Does not decide in which stream: it is told.

use super::*;

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

/// What went wrong last; asking may forget it.
static LAST: AtomicI32 = AtomicI32::new(OK);

#[unsafe(no_mangle)]
extern "C" fn cudaGetLastError() -> c_int {
    LAST.swap(OK, Ordering::Relaxed)
}

#[unsafe(no_mangle)]
extern "C" fn cudaPeekAtLastError() -> c_int {
    LAST.load(Ordering::Relaxed)
}

fn launch(function: Pointer, stream: usize) -> c_int {
    if std::env::var("CUDA_DOUBLE_KERNELS").is_ok_and(|said| said == "0") {
        LAST.store(NO_KERNEL, Ordering::Relaxed);
        return NO_KERNEL;
    }
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
