//! Streams of `devanture run`: the same frames result from any split, and encoded frames decode again.

#![no_main]

use devanture_config::run_stream::{ClientFrame, EdgeFrame, Frame, Reader};
use libfuzzer_sys::fuzz_target;

fn read<F: Frame>(body: &[u8], piece: usize) -> (Vec<F>, bool) {
    let (mut reader, mut frames) = (Reader::default(), Vec::new());
    for piece in body.chunks(piece) {
        reader.push(piece);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    (frames, true)
}

fn check<F: Frame + PartialEq + std::fmt::Debug>(body: &[u8], piece: usize) {
    let read_whole = read::<F>(body, body.len().max(1));
    assert_eq!(read_whole, read::<F>(body, piece));
    // The JSON may have been written differently, and so exceed the limit now.
    let written: Vec<u8> = read_whole.0.iter().filter_map(|frame| frame.bytes().ok()).flatten().collect();
    let again = read::<F>(&written, written.len().max(1));
    assert!(again.1 && again.0.len() <= read_whole.0.len());
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, body) = input;
    check::<ClientFrame>(body, usize::from(piece).max(1));
    check::<EdgeFrame>(body, usize::from(piece).max(1));
});
