//! Requests with many blobs: the same blobs result from any split, no blob exceeds the limit, and encoding reproduces
//! the input.

#![no_main]

use devanture_config::blob_batch::{Reader, head};
use libfuzzer_sys::fuzz_target;

const BYTES_MAX: u64 = 1_000;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, body) = input;
    let read = |piece: usize| {
        let (mut reader, mut blobs) = (Reader::new(BYTES_MAX), Vec::new());
        for piece in body.chunks(piece) {
            reader.push(piece);
            loop {
                match reader.next_blob() {
                    Ok(Some((digest, bytes))) => blobs.push((digest, bytes)),
                    Ok(None) => break,
                    Err(_) => return (blobs, false),
                }
            }
        }
        let is_whole = reader.end().is_ok();
        (blobs, is_whole)
    };
    let (blobs, is_whole) = read(usize::from(piece).max(1));
    assert_eq!((blobs.clone(), is_whole), read(body.len().max(1)));
    let mut written = Vec::new();
    for (digest, bytes) in &blobs {
        assert!(bytes.len() as u64 <= BYTES_MAX);
        written.extend_from_slice(&head(digest, u32::try_from(bytes.len()).unwrap()));
        written.extend_from_slice(bytes);
    }
    assert!(body.starts_with(&written) && (!is_whole || written.len() == body.len()));
});
