//! Constant responses: one for each file, loaded before the start, for all protocols.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use bytes::Bytes;
use devanture_http::field_coding::huffman;
use devanture_http::qpack;
use http::StatusCode;

/// Indexes of names in HPACK's static table (RFC 7541 appendix A).
mod name {
    pub(super) const PATH: [usize; 2] = [4, 5];
    pub(super) const CACHE_CONTROL: u8 = 24;
    pub(super) const CONTENT_ENCODING: u8 = 26;
    pub(super) const CONTENT_LENGTH: u8 = 28;
    pub(super) const CONTENT_TYPE: u8 = 31;
    pub(super) const DATE: u8 = 33;
    pub(super) const ETAG: u8 = 34;
    pub(super) const IF_NONE_MATCH: usize = 41;
    pub(super) const VARY: u8 = 59;
}

/// Response: a head for each protocol, and the body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// HPACK block of literals.
    pub(crate) block: Bytes,
    /// HTTP/3 frames before the body.
    pub(crate) frames: Bytes,
    /// HTTP/1.1 head including the empty line.
    pub(crate) lines: Bytes,
    pub(crate) body: Bytes,
}

/// Responses by request.
pub(crate) struct Answers {
    /// By path, plain and Huffman coded: the file's response, and the 304.
    files: HashMap<Vec<u8>, (Answer, Answer)>,
    missing: Answer,
}

impl Answers {
    /// Reads the files of a folder; a `.br` sibling replaces a file.
    pub(crate) fn read(www: &Path) -> io::Result<Self> {
        let mut files = HashMap::new();
        for entry in std::fs::read_dir(www)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let brotli = www.join(format!("{name}.br"));
            let is_encoded = brotli.exists();
            let body = Bytes::from(std::fs::read(if is_encoded { brotli } else { entry.path() })?);
            let encoding = if is_encoded { "br" } else { "" };
            let found = Answer::new(StatusCode::OK, content_type(&name), encoding, body.clone());
            let unchanged = Answer::new(StatusCode::NOT_MODIFIED, "", "", Bytes::new());
            let path = format!("/{name}").into_bytes();
            let mut coded = Vec::new();
            huffman::encode(&path, &mut coded);
            files.insert(coded, (found.clone(), unchanged.clone()));
            files.insert(path, (found, unchanged));
        }
        let missing = Answer::new(
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "",
            Bytes::from_static(b"Nothing is here.\n"),
        );
        Ok(Self { files, missing })
    }

    /// Response to an HTTP/1.1 head.
    pub(crate) fn to_lines(&self, head: &[u8]) -> &Answer {
        let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let is_conditional =
            head.split(|byte| *byte == b'\n').any(|line| line.to_ascii_lowercase().starts_with(b"if-none-match:"));
        self.choose(path, is_conditional)
    }

    /// Response to the first HPACK block of a connection, which has no reference to the dynamic table.
    pub(crate) fn to_block(&self, block: &[u8]) -> &Answer {
        let (mut path, mut is_conditional, mut rest) = (None, false, block);
        while let Some((Field { index, value }, after)) = field(rest) {
            rest = after;
            path = path.or_else(|| value.filter(|_| name::PATH.contains(&index)));
            is_conditional |= index == name::IF_NONE_MATCH;
        }
        self.choose(path.unwrap_or_default(), is_conditional)
    }

    /// Response to a HEADERS frame of HTTP/3, without a dynamic table.
    pub(crate) fn to_request(&self, frame: &[u8]) -> &Answer {
        let section = variable(frame).and_then(|(_, rest)| variable(rest)).map_or(&[][..], |(_, section)| section);
        let (mut path, mut rest) = (None, section.get(2..).unwrap_or_default());
        while let Some((found, after)) = section_field(rest) {
            rest = after;
            path = path.or(found);
        }
        self.choose(path.unwrap_or_default(), false)
    }

    fn choose(&self, path: &[u8], is_conditional: bool) -> &Answer {
        self.files.get(path).map_or(&self.missing, |(found, same)| if is_conditional { same } else { found })
    }
}

impl Answer {
    fn new(status: StatusCode, content_type: &str, encoding: &str, body: Bytes) -> Self {
        let length = if status == StatusCode::NOT_MODIFIED { String::new() } else { body.len().to_string() };
        let fields = [
            (name::CONTENT_TYPE, "content-type", content_type),
            (name::CONTENT_ENCODING, "content-encoding", encoding),
            (name::CONTENT_LENGTH, "content-length", length.as_str()),
            (name::ETAG, "etag", "\"0123456789abcdef0123456789abcdef\""),
            (name::CACHE_CONTROL, "cache-control", "public, max-age=0, must-revalidate"),
            (name::VARY, "vary", "accept-encoding"),
            (name::DATE, "date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ];
        let mut block = vec![match status {
            StatusCode::OK => 0x88,
            StatusCode::NOT_MODIFIED => 0x8b,
            _ => 0x8d,
        }];
        let mut lines = format!("HTTP/1.1 {status}\r\n");
        for (number, name, value) in fields.into_iter().filter(|(.., value)| !value.is_empty()) {
            // Literal without indexing, indexed name, plain value (RFC 7541 §6.2.2); all values are short.
            if number < 15 {
                block.push(number);
            } else {
                block.extend([15, number - 15]);
            }
            block.push(u8::try_from(value.len()).unwrap_or_default());
            block.extend_from_slice(value.as_bytes());
            lines.push_str(&format!("{name}: {value}\r\n"));
        }
        lines.push_str("\r\n");
        let mut section = Vec::new();
        qpack::start(&mut section);
        qpack::status(status, &mut section);
        for (_, name, value) in fields.into_iter().filter(|(.., value)| !value.is_empty()) {
            qpack::field(name, value.as_bytes(), &mut section);
        }
        let mut frames = frame_head(HEADERS, section.len());
        frames.append(&mut section);
        if !body.is_empty() {
            frames.append(&mut frame_head(DATA, body.len()));
        }
        Self { block: block.into(), frames: frames.into(), lines: lines.into(), body }
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Types of HTTP/3 frames (RFC 9114 §7.2).
const DATA: u8 = 0x00;
const HEADERS: u8 = 0x01;

/// Frame header with a length in four bytes.
fn frame_head(kind: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or_default() | 0x8000_0000;
    [&[kind][..], &length.to_be_bytes()].concat()
}

/// Variable-length integer (RFC 9000 §16), and the remaining bytes.
fn variable(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (text, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    Some((text.iter().skip(1).fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte)), rest))
}

/// Value of the first field of a section, still encoded, if the field is `:path`, and the remaining bytes (RFC 9204
/// §4.5).
fn section_field(section: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    const PATH: usize = 1;
    match *section.first()? {
        // Indexed field.
        0x80.. => Some((None, integer(section, 6)?.1)),
        // Indexed name.
        0x40.. => {
            let (number, rest) = integer(section, 4)?;
            let (value, rest) = text(rest)?;
            Some(((number == PATH).then_some(value), rest))
        }
        // Literal name.
        _ => {
            let (length, rest) = integer(section, 3)?;
            Some((None, text(rest.get(length..)?)?.1))
        }
    }
}

/// Field of a block.
struct Field<'b> {
    /// Index of the name, or of the whole field.
    index: usize,
    /// Value, if present, as sent: a Huffman coded value stays encoded.
    value: Option<&'b [u8]>,
}

/// First field of a block, and the remaining bytes.
fn field(block: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let first = *block.first()?;
    let (bits, has_value) = match first {
        0x80.. => (7, false),
        0x40.. => (6, true),
        0x20.. => (5, false),
        _ => (4, true),
    };
    let (index, mut rest) = integer(block, bits)?;
    if !has_value {
        return Some((Field { index, value: None }, rest));
    }
    if index == 0 {
        rest = text(rest)?.1;
    }
    let (value, rest) = text(rest)?;
    Some((Field { index, value: Some(value) }, rest))
}

fn text(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = integer(block, 7)?;
    rest.split_at_checked(length)
}

/// Integer of RFC 7541 §5.1 with a prefix of `bits`.
fn integer(block: &[u8], bits: u32) -> Option<(usize, &[u8])> {
    let (first, mut rest) = block.split_first()?;
    let mask = (1_usize << bits) - 1;
    let mut value = usize::from(*first) & mask;
    if value < mask {
        return Some((value, rest));
    }
    for shift in [0, 7, 14] {
        let (byte, after) = rest.split_first()?;
        rest = after;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}
