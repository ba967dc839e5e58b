//! Streams, events and captures.
//!
//! Decides when the host may wait. Nothing is ever under way, so waiting takes no time.

use super::*;

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
