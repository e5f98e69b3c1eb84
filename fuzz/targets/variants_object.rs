//! Variant objects in a bucket: a parsed object is encoded unchanged, and every byte belongs to a variant or the
//! header.

#![no_main]

use bytes::Bytes;
use devanture_store::blobs::variants_object::{head, parse};
use libfuzzer_sys::fuzz_target;

const FIRST_LINE: &[u8] = b"devanture-variants 1\n";

fuzz_target!(|input: &[u8]| {
    // Half of the inputs start with the object's first line.
    let begun = [FIRST_LINE, input].concat();
    for bytes in [Bytes::copy_from_slice(input), Bytes::from(begun)] {
        let Some(variants) = parse(&bytes) else { continue };
        let infos: Vec<_> = variants.iter().map(|(info, _)| *info).collect();
        let mut written = head(&infos).into_bytes();
        variants.iter().for_each(|(_, content)| written.extend_from_slice(content));
        assert_eq!(written, bytes);
    }
});
