//! Every corpus through its decoder, as it is, cut short, and changed at random: a small part of what the fuzzer does, in every
//! run and with the stable compiler.

use std::path::PathBuf;

use tactus_decoders::TARGETS;

/// Changed copies of each seed.
const COPIES: u64 = 2000;

/// xorshift64* (Vigna 2016, arXiv 1402.6246): the same numbers on every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// One change: a byte, a bit, a piece taken out, doubled, or overwritten with another piece.
fn change(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    if bytes.is_empty() {
        bytes.push(numbers.next() as u8);
        return;
    }
    let at = numbers.below(bytes.len());
    let length = 1 + numbers.below((bytes.len() - at).min(32));
    match numbers.below(6) {
        0 => bytes[at] = numbers.next() as u8,
        1 => bytes[at] ^= 1 << numbers.below(8),
        2 => drop(bytes.drain(at..at + length)),
        3 => {
            let piece = bytes[at..at + length].to_vec();
            let to = numbers.below(bytes.len());
            bytes.splice(to..to, piece);
        }
        4 => {
            let from = numbers.below(bytes.len() - length + 1);
            bytes.copy_within(at..at + length, from);
        }
        _ => bytes[at..at + length].fill([0, 0x7F, 0xFF][numbers.below(3)]),
    }
}

#[test]
fn decoders_return_whatever_they_are_given() {
    let corpora = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpora");
    let mut wrong = Vec::new();
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for (name, target) in TARGETS {
        let dir = corpora.join(name);
        let seeds = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let mut files: Vec<PathBuf> = seeds.flatten().map(|entry| entry.path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name}: no seeds");
        for file in files {
            let seed = std::fs::read(&file).expect("a seed");
            // A seed that is refused at its first byte would try little: all but those named so are accepted.
            let odd = file.extension().is_some_and(|e| e == "odd");
            if target(&seed) == odd {
                wrong.push(format!(
                    "{name}/{}",
                    file.file_name().unwrap_or_default().display()
                ));
            }
            for end in (0..seed.len()).step_by(1 + seed.len() / 64) {
                target(&seed[..end]);
            }
            for _ in 0..COPIES {
                let mut bytes = seed.clone();
                for _ in 0..=numbers.below(6) {
                    change(&mut bytes, &mut numbers);
                }
                target(&bytes);
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "refused, or accepted against its name: {wrong:?}"
    );
}

/// What a reader that calls itself for every opening would run out of stack on.
#[test]
fn openings_that_are_never_closed_are_refused() {
    for (name, target) in TARGETS {
        for kind in 0..5_u8 {
            for opening in [
                &b"["[..],
                b"{",
                b"a: [",
                b"{\"a\":",
                b"- ",
                b"\x91",
                b"\x81\xa1a",
                b"\x0a\x7f",
                b"[a.",
            ] {
                let mut bytes = vec![kind];
                bytes.extend(opening.iter().cycle().take(100_000));
                assert!(!target(&bytes), "{name} accepts {opening:?} without an end");
            }
        }
    }
}
