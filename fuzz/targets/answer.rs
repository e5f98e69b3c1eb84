//! Backend responses over HTTP/1.1: the result is the same in one piece and byte by byte, and buffers stay within the
//! limits.

#![no_main]

use bytes::BytesMut;
use devanture_serve::proxy::http1::codec::{Decoded, Decoder, FIELDS_MAX, take_head};
use http::Method;
use libfuzzer_sys::fuzz_target;

/// Status and body of the response in `pieces`, and true once complete.
fn read<'p>(method: &Method, pieces: impl Iterator<Item = &'p [u8]>) -> Option<(u16, Vec<u8>, bool)> {
    let (mut input, mut found, mut body) = (BytesMut::new(), None, Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        while !input.is_empty() {
            let Some((_, decoder)) = &mut found else {
                let Some(head) = take_head(&mut input).ok()? else { break };
                assert!(head.fields.len() <= FIELDS_MAX);
                found = Some((head.status.as_u16(), Decoder::new(head.length(method).ok()?)));
                continue;
            };
            match Decoder::decode(decoder, &mut input).ok()? {
                Decoded::Data(data) => body.extend_from_slice(&data),
                Decoded::More => break,
                Decoded::Over => return found.map(|(status, _)| (status, body, true)),
                Decoded::Trailers(fields) => {
                    assert!(fields.len() <= FIELDS_MAX);
                    return found.map(|(status, _)| (status, body, true));
                }
            }
        }
    }
    found.map(|(status, mut decoder)| (status, body, decoder.close().is_ok()))
}

fuzz_target!(|input: (bool, &[u8])| {
    let (is_head, bytes) = input;
    let method = if is_head { Method::HEAD } else { Method::GET };
    let whole = read(&method, std::iter::once(bytes));
    let pieces = read(&method, bytes.chunks(1));
    // Byte by byte a response may complete before a later error is read, never the reverse.
    assert!(whole.is_none() || whole == pieces, "{whole:?} {pieces:?}");
});
