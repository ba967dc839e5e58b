//! An observation as a message: what a key is, and the dictionaries that a `.` in keys stands for.

use crate::mapping::Layout;
use crate::pack::Packer;
use crate::pixels::Pixels;

/// One thing that is sent.
pub(super) enum Entry<'a> {
    Text(&'a str),
    Vector(Vec<f64>),
    Picture(&'a Pixels, Option<Layout>),
}

/// A map of `entries`; what stands before a `.` in their keys is a map of its own.
pub(super) fn pack(packer: &mut Packer, entries: &[(&str, Entry<'_>)]) {
    let head = |key: &str| key.split_once('.').map(|(head, _)| head.to_owned());
    let mut heads: Vec<String> = Vec::new();
    for (key, _) in entries {
        let head = head(key).unwrap_or_else(|| (*key).to_owned());
        if !heads.contains(&head) {
            heads.push(head);
        }
    }
    packer.map(heads.len());
    for head in &heads {
        packer.text(head);
        let of = |key: &str| {
            key.split_once('.')
                .filter(|(h, _)| h == head)
                .map(|(_, tail)| tail.to_owned())
        };
        let inner: Vec<(String, &Entry<'_>)> = entries
            .iter()
            .filter_map(|(key, entry)| Some((of(key)?, entry)))
            .collect();
        if let Some((_, entry)) = entries.iter().find(|(key, _)| key == head) {
            write(packer, entry);
            continue;
        }
        packer.map(inner.len());
        for (key, entry) in &inner {
            packer.text(key);
            write(packer, entry);
        }
    }
}

fn write(packer: &mut Packer, entry: &Entry<'_>) {
    match entry {
        Entry::Text(text) => {
            packer.text(text);
        }
        Entry::Vector(numbers) => {
            packer.float_array(&[numbers.len()], numbers);
        }
        Entry::Picture(pixels, layout) => {
            let (width, height) = pixels.shape();
            match layout {
                None | Some(Layout::Hwc) => packer.bytes_array(&[height, width, 3], pixels.rgb()),
                Some(Layout::Chw) => {
                    let rgb = pixels.rgb();
                    let plane = |c: usize| rgb.iter().skip(c).step_by(3).copied();
                    let planes: Vec<u8> = (0..3).flat_map(plane).collect();
                    packer.bytes_array(&[3, height, width], &planes)
                }
            };
        }
    }
}
