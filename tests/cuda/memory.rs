//! Memory of the device and page-locked memory of the host, and copies between them.
//!
//! Decides what is refused while a stream is captured. Does not copy then: a captured copy is only counted.

use super::*;

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
