//! Chunked bodies: for any split, the meaning equals the result of a reader with all bytes, written after the standard.

use super::engine::chunks::{ChunkDecoder, ChunkPart};

/// Permitted trailers.
const TRAILERS_MAX: usize = 4;

/// Meaning of bytes as a chunked body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Body {
    content: Vec<u8>,
    /// Names in lower case, and values.
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) end: End,
}

/// End of a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// Complete after this number of bytes.
    After(usize),
    /// Incomplete.
    #[default]
    Open,
    /// Invalid.
    Refused,
}

/// Decodes `pieces`.
fn decode(pieces: &[&[u8]]) -> Body {
    let (mut decoder, mut body, mut taken) = (ChunkDecoder::new(TRAILERS_MAX), Body::default(), 0);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match decoder.next_part(rest) {
                Ok(ChunkPart::Content { framing, content }) => {
                    body.content.extend_from_slice(&rest[framing..framing + content]);
                    rest = &rest[framing + content..];
                    taken += framing + content;
                }
                Ok(ChunkPart::More) => {
                    taken += rest.len();
                    break;
                }
                Ok(ChunkPart::End { framing, trailers }) => {
                    let trailers = trailers.unwrap_or_default();
                    let fields = trailers.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().into()));
                    body.trailers = fields.collect();
                    body.trailers.sort();
                    body.end = End::After(taken + framing);
                    return body;
                }
                Err(_) => {
                    body.end = End::Refused;
                    return body;
                }
            }
        }
    }
    body
}

/// Returns the line at the beginning of `bytes` without the end: `None` if incomplete, an error if invalid.
fn line(bytes: &[u8], bytes_max: usize) -> Result<Option<&[u8]>, ()> {
    let Some(end) = bytes.iter().take(bytes_max).position(|byte| *byte == b'\n') else {
        return if bytes.len() < bytes_max { Ok(None) } else { Err(()) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(())?;
    if line.contains(&b'\r') { Err(()) } else { Ok(Some(line)) }
}

/// Returns the size in a line, and the bytes after the size.
fn size(line: &[u8]) -> Option<(usize, &[u8])> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (number, beside) = line.split_at(digits);
    let extension = beside.iter().position(|byte| !matches!(byte, b' ' | b'\t')).map_or(&b""[..], |at| &beside[at..]);
    let is_extension = extension.is_empty() || extension[0] == b';';
    let is_text = beside.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    let size = usize::from_str_radix(str::from_utf8(number).ok()?, 16).ok()?;
    (number.len() <= 16 && is_extension && is_text).then_some((size, beside))
}

/// Returns the name and value of a trailer line.
fn field(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let value = &value[1..];
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    let value = &value[start..end];
    let is_value = value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    (!name.is_empty() && name.iter().all(is_token) && is_value).then(|| (name.to_ascii_lowercase(), value.to_vec()))
}

/// Returns the meaning of `bytes` with at most `trailers_max` trailers. An invalid but unfinished line counts as open.
pub(super) fn reference(bytes: &[u8], trailers_max: usize) -> Body {
    let mut body = Body::default();
    body.end = match read(bytes, trailers_max, &mut body) {
        Ok(Some(length)) => End::After(length),
        Ok(None) => End::Open,
        Err(()) => End::Refused,
    };
    body
}

fn read(bytes: &[u8], trailers_max: usize, body: &mut Body) -> Result<Option<usize>, ()> {
    let (mut at, mut beside_all) = (0, 0);
    loop {
        let Some(first) = line(&bytes[at..], 4_096)? else { return Ok(None) };
        let (size, beside) = size(first).ok_or(())?;
        beside_all += beside.len();
        if beside_all > 16_384 {
            return Err(());
        }
        at += first.len() + 2;
        if size == 0 {
            break;
        }
        let content = &bytes[at..];
        body.content.extend_from_slice(&content[..content.len().min(size)]);
        if content.len() < size {
            return Ok(None);
        }
        match &content[size..] {
            [b'\r', b'\n', ..] => at += size + 2,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(()),
        }
    }
    let (begin, mut lines) = (at, Vec::new());
    loop {
        let Some(next) = line(&bytes[at..], 16_384 - (at - begin))? else { return Ok(None) };
        at += next.len() + 2;
        if next.is_empty() {
            break;
        }
        lines.push(next);
    }
    body.trailers = lines.into_iter().map(field).collect::<Option<_>>().ok_or(())?;
    body.trailers.sort();
    if body.trailers.len() > trailers_max {
        body.trailers.clear();
        return Err(());
    }
    Ok(Some(at))
}

/// Decodes the bytes in one piece, byte by byte, and in pieces of `sizes`.
pub(super) fn pieces_mean_the_same(bytes: &[u8], sizes: &[u8]) {
    let whole = decode(&[bytes]);
    for sizes in [&[1][..], sizes] {
        assert_eq!(decode(&super::site::cut(bytes, sizes)), whole);
    }
    let reference = reference(bytes, TRAILERS_MAX);
    // A hopeless line is refused before its end has arrived.
    let is_early = whole.end == End::Refused && reference.end == End::Open;
    assert!(is_early || whole.end == reference.end, "{whole:?} {reference:?}");
    assert_eq!((whole.content, whole.trailers), (reference.content, reference.trailers));
}
