//! What the double says that it is: one device of compute capability 9.0, or none.
//!
//! Decides the numbers that the provider asks for before it chooses kernels; the offsets are those of `driver_types.h`.

use super::*;

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
