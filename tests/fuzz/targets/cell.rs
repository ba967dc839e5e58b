//! Cell files. What reads them is a module of the program, taken in as it is.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../../launch/src"]
mod launch {
    pub mod cell;
}

/// What the cell file's reader has from the command line's.
mod cli {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum ControlWord {
        Head,
        Fast,
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        // Files that it names are not there.
        let _ = launch::cell::parse(text, std::path::Path::new("/nowhere/cell.toml"));
    }
});
