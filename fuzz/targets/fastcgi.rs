//! Backend responses over FastCGI: the result is the same in one piece and byte by byte, and buffers stay within the
//! limits.

#![no_main]

use bytes::BytesMut;
use devanture_config::site_toml::Scripts;
use devanture_serve::proxy::fastcgi::answer::take_head;
use devanture_serve::proxy::fastcgi::records::{Event, Reader};
use devanture_serve::proxy::fastcgi::script::script_for;
use devanture_serve::proxy::http1::codec::FIELDS_MAX;
use libfuzzer_sys::fuzz_target;

/// Output and error output of the response in `pieces`, and true once complete.
fn read<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> Option<(Vec<u8>, Vec<u8>, bool)> {
    let (mut reader, mut input) = (Reader::default(), BytesMut::new());
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match reader.next(&mut input).ok()? {
                Event::Stdout(piece) => output.extend_from_slice(&piece),
                Event::Stderr(piece) => errors.extend_from_slice(&piece),
                Event::End(_) => return Some((output, errors, true)),
                Event::More => break,
            }
        }
    }
    Some((output, errors, false))
}

fuzz_target!(|input: (&str, &[u8])| {
    let (path, bytes) = input;
    let whole = read(std::iter::once(bytes));
    assert_eq!(whole, read(bytes.chunks(1)));
    let output = whole.map_or_else(|| bytes.to_vec(), |(output, ..)| output);
    if let Ok(Some(head)) = take_head(&mut BytesMut::from(&output[..])) {
        assert!(head.fields.len() <= FIELDS_MAX && !head.status.is_informational());
    }
    if let Ok(script) = script_for(path, &Scripts::below("/srv")) {
        let is_name = |segment: &str| !segment.is_empty() && !segment.starts_with('.');
        assert!(script.name.strip_prefix('/').unwrap().split('/').all(is_name), "{script:?}");
        assert!(script.name.ends_with(".php") && !script.name.contains(['\0', '\\']), "{script:?}");
    }
});
