//! Layers of an image as unpacked: bytes are counted with the disk blocks of each entry, and entries that stand for
//! more bytes are refused.
//!
//! A sparse tar entry has a map of holes in place of their bytes, and podman writes the holes as zeros: a layer of 3
//! KiB can fill a disk. A parser in another language reads the layer later, so ambiguous input is refused.

use std::io::{self, Write};

use super::archive::BadArchive;

/// Bytes of a tar block.
const BLOCK_BYTES: usize = 512;
/// Bytes of a file system block: an entry takes at least one, for content, names or metadata. A header alone has 512
/// bytes, so a layer could contain millions of empty files and folders.
const DISK_BLOCK_BYTES: u64 = 4_096;
/// Maximum length of an extended header in bytes, as in podman.
const EXTENDED_BYTES_MAX: u64 = 1024 * 1024;
/// Prefix of extended header keys that describe a sparse entry.
const SPARSE: &str = "GNU.sparse.";

/// Counts the bytes of unpacked layers, and checks the headers of the written layer.
pub(super) struct Layer {
    /// Bytes still permitted.
    pub(super) left: u64,
    state: State,
    /// Received part of a header or an extended header.
    text: Vec<u8>,
    next: Next,
}

/// Next part of a layer.
enum State {
    Header,
    /// Remaining bytes of an entry, with padding.
    Content(u64),
    /// Extended header of this length, with padding.
    Extended {
        length: usize,
        padding: u64,
        is_global: bool,
    },
    /// Bytes after the end of the tar, which no parser reads.
    End,
}

/// Values of extended headers for the next entry.
#[derive(Default)]
struct Next {
    size: Option<u64>,
    has_name: bool,
}

impl Layer {
    /// Creates a layer with at most `left` bytes.
    pub(super) fn new(left: u64) -> Self {
        Self { left, state: State::Header, text: Vec::new(), next: Next::default() }
    }

    /// Counts the bytes of a blob that is no layer.
    pub(super) fn none(left: u64) -> Self {
        Self { state: State::End, ..Self::new(left) }
    }

    /// Consumes some bytes, at least one; returns their number.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, BadArchive> {
        match self.state {
            State::End => Ok(bytes.len()),
            State::Content(left) => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.skip(left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX)));
                Ok(count)
            }
            State::Header => {
                let count = self.collect(bytes, BLOCK_BYTES);
                if let Ok(block) = <[u8; BLOCK_BYTES]>::try_from(self.text.as_slice()) {
                    self.text.clear();
                    self.header(&block)?;
                }
                Ok(count)
            }
            State::Extended { length, padding, is_global } => {
                let count = self.collect(bytes, length);
                if self.text.len() == length {
                    let text = std::mem::take(&mut self.text);
                    self.extended(&text, is_global)?;
                    self.skip(padding);
                }
                Ok(count)
            }
        }
    }

    fn collect(&mut self, bytes: &[u8], length: usize) -> usize {
        let count = length.saturating_sub(self.text.len()).min(bytes.len());
        self.text.extend_from_slice(bytes.get(..count).unwrap_or_default());
        count
    }

    fn skip(&mut self, count: u64) {
        self.state = if count == 0 { State::Header } else { State::Content(count) };
    }

    fn header(&mut self, block: &[u8; BLOCK_BYTES]) -> Result<(), BadArchive> {
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::End;
            return Ok(());
        }
        let header = Header(block);
        if !header.is_whole() {
            return Err(BadArchive::Layer("a header without its checksum"));
        }
        let size = header.size().ok_or(BadArchive::Layer("a size that is no number"))?;
        let kind = header.kind();
        match kind {
            b'S' => return Err(BadArchive::Sparse),
            // Podman reads files of the image, such as `/etc/passwd`, and would wait forever on a pipe.
            b'3' | b'4' | b'6' => return Err(BadArchive::Device),
            b'x' | b'g' if size > EXTENDED_BYTES_MAX => return Err(BadArchive::Layer("a long extended header")),
            // A global header would end the effect of a preceding extended header for some parsers and not for others.
            b'g' if self.next.size.is_some() || self.next.has_name => {
                return Err(BadArchive::Layer("a global header within an entry"));
            }
            b'x' | b'g' => {
                let length = usize::try_from(size).unwrap_or(usize::MAX);
                self.state = State::Extended { length, padding: padding(size), is_global: kind == b'g' };
                if length == 0 {
                    self.skip(0);
                }
                return Ok(());
            }
            b'K' | b'L' => {
                self.next.has_name = true;
                self.skip(blocks(size));
                return Ok(());
            }
            _ => {}
        }
        let next = std::mem::take(&mut self.next);
        let size = next.size.unwrap_or(size);
        // Old archives mark a folder only by the name.
        let may_be_folder = kind == 0 && (next.has_name || header.is_named_as_folder());
        if size > 0 && (matches!(kind, b'1' | b'2' | b'5') || may_be_folder) {
            return Err(BadArchive::Layer("a link or folder with content"));
        }
        // A hard link is a further name of an existing file.
        if kind != b'1' {
            let on_disk = size.max(1).div_ceil(DISK_BLOCK_BYTES).saturating_mul(DISK_BLOCK_BYTES);
            self.count(on_disk.saturating_sub(blocks(size)))?;
        }
        self.skip(blocks(size));
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(())
    }

    fn extended(&mut self, text: &[u8], is_global: bool) -> Result<(), BadArchive> {
        let bad = BadArchive::Layer("an extended header that cannot be read");
        let Some(records) = records(text) else { return Err(bad) };
        if records.iter().any(|(key, _)| key.starts_with(SPARSE.as_bytes())) {
            return Err(BadArchive::Sparse);
        }
        let of = |name: &str| records.iter().rev().find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| *value);
        let size = match of("size") {
            Some(_) if is_global => return Err(BadArchive::Layer("a size in a global header")),
            Some(value) => Some(number(value, 10).ok_or(bad)?),
            None => None,
        };
        if !is_global {
            // A later value replaces an earlier value.
            self.next.size = size;
            self.next.has_name |= of("path").is_some();
        }
        Ok(())
    }
}

impl Write for Layer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.count(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = self.take(rest).map_err(|bad| match bad {
                BadArchive::Io(error) => error,
                bad => io::Error::other(bad),
            })?;
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Block of a header.
struct Header<'b>(&'b [u8; BLOCK_BYTES]);

impl Header<'_> {
    fn field(&self, from: usize, to: usize) -> &[u8] {
        self.0.get(from..to).unwrap_or_default()
    }

    fn kind(&self) -> u8 {
        self.field(156, 157).first().copied().unwrap_or_default()
    }

    /// Returns true for a correct checksum, of signed or unsigned bytes.
    fn is_whole(&self) -> bool {
        let counted =
            || self.0.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
        let unsigned: i64 = counted().map(i64::from).sum();
        let signed: i64 = counted().map(|byte| i64::from(i8::from_ne_bytes([byte]))).sum();
        let said = number(trimmed(self.field(148, 156)), 8).and_then(|said| i64::try_from(said).ok());
        said.is_some_and(|said| said == unsigned || said == signed)
    }

    /// Returns the length of the content, in octal digits or base 256.
    fn size(&self) -> Option<u64> {
        let field = self.field(124, 136);
        match field.split_first() {
            Some((0x80, rest)) => {
                let (high, low) = rest.split_at_checked(3)?;
                let low = u64::from_be_bytes(low.try_into().ok()?);
                (high == [0; 3] && i64::try_from(low).is_ok()).then_some(low)
            }
            _ => match trimmed(field) {
                [] => Some(0),
                digits => number(digits, 8),
            },
        }
    }

    fn is_named_as_folder(&self) -> bool {
        let name = self.field(0, 100).split(|byte| *byte == 0).next().unwrap_or_default();
        name.is_empty() || name.ends_with(b"/")
    }
}

/// Parses a number that consists only of digits.
fn number(digits: &[u8], base: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    u64::from_str_radix(text, base).ok().filter(|number| i64::try_from(*number).is_ok())
}

fn trimmed(mut field: &[u8]) -> &[u8] {
    while let [b' ' | 0, rest @ ..] | [rest @ .., b' ' | 0] = field {
        field = rest;
    }
    field
}

/// Returns the bytes from the end of the content to the next block.
fn padding(size: u64) -> u64 {
    let block = BLOCK_BYTES as u64;
    size.div_ceil(block).saturating_mul(block).saturating_sub(size)
}

fn blocks(size: u64) -> u64 {
    size.saturating_add(padding(size))
}

/// Parses the keys and values of an extended header: lines of `length key=value`.
fn records(mut text: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ')?;
        let length = usize::try_from(number(text.get(..space)?, 10)?).ok()?;
        let (record, rest) = text.split_at_checked(length)?;
        let record = record.strip_suffix(b"\n")?.get(space + 1..)?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = record.split_at_checked(equals)?;
        records.push((key, value.get(1..)?));
        text = rest;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(size);
        header.as_mut_bytes()[156] = kind;
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        bytes
    }

    fn extended(kind: u8, records: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_pax_extensions(records.iter().map(|(key, value)| (*key, value.as_bytes()))).unwrap();
        let mut bytes = tar.into_inner().unwrap();
        bytes.truncate(bytes.len() - 2 * BLOCK_BYTES);
        let size = tar::Header::from_byte_slice(&bytes[..BLOCK_BYTES]).size().unwrap();
        bytes[..BLOCK_BYTES].copy_from_slice(&header("pax", kind, size));
        bytes
    }

    fn file(content: &str) -> Vec<u8> {
        [header("file", b'0', content.len() as u64), padded(content.as_bytes().to_vec())].concat()
    }

    /// Returns the reason for refusing a layer of these parts, for any split.
    fn refused(parts: &[Vec<u8>]) -> Option<String> {
        let bytes = parts.concat();
        let reasons = [1, 100, 512, 5_000].map(|piece| {
            let mut layer = Layer::new(100_000);
            bytes.chunks(piece).find_map(|piece| layer.write_all(piece).err()).map(|error| error.to_string())
        });
        assert!(reasons.windows(2).all(|two| two[0] == two[1]), "{reasons:?}");
        reasons[0].clone()
    }

    #[test]
    fn entries_that_stand_for_more_than_their_bytes_are_refused_in_every_form() {
        let old = [header("sparse", b'S', 512), vec![0; 512]];
        let forms: [&[(&str, &str)]; 3] = [
            &[("GNU.sparse.size", "9"), ("GNU.sparse.numblocks", "0")],
            &[("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,1"), ("GNU.sparse.name", "file")],
            &[("mtime", "1"), ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")],
        ];
        let sparse = BadArchive::Sparse.to_string();
        assert_eq!(refused(&old), Some(sparse.clone()));
        for form in forms {
            for kind in [b'x', b'g'] {
                let entry = [file("before"), extended(kind, form), file("x")];
                assert_eq!(refused(&entry), Some(sparse.clone()), "{form:?}");
            }
        }
    }

    #[test]
    fn a_sparse_entry_is_found_wherever_the_engine_would_find_it() {
        let hidden = header("sparse", b'S', 512);
        let sparse = Some(BadArchive::Sparse.to_string());
        // After content with a length given only by an extended header.
        let behind = [extended(b'x', &[("size", "0")]), header("file", b'0', 512), hidden.clone()];
        assert_eq!(refused(&behind), sparse);
        let within = [extended(b'x', &[("size", "512")]), header("file", b'0', 0), hidden.clone()];
        assert_eq!(refused(&within), None, "it is the content of a file");
        let long = [header("long", b'L', 5), padded(b"name/".to_vec()), hidden.clone()];
        assert_eq!(refused(&long), sparse);
        // Ambiguous input.
        let size = extended(b'x', &[("size", "0")]);
        for parts in [
            vec![header("folder/", b'5', 512), hidden.clone()],
            vec![header("folder/", 0, 512), hidden.clone()],
            vec![header("long", b'L', 5), padded(b"name/".to_vec()), header("file", 0, 512), hidden.clone()],
            vec![size.clone(), extended(b'g', &[("comment", "x")]), header("file", b'0', 512), hidden.clone()],
            vec![extended(b'g', &[("size", "0")]), header("file", b'0', 512), hidden.clone()],
            vec![extended(b'x', &[("size", "-0")]), header("file", b'0', 512), hidden.clone()],
            vec![header("pax", b'x', 3), padded(b"3 x".to_vec()), hidden.clone()],
        ] {
            assert!(refused(&parts).is_some_and(|why| why.contains("cannot be read")));
        }
        let mut damaged = header("file", b'0', 0);
        damaged[0] ^= 1;
        assert!(refused(&[damaged]).is_some_and(|why| why.contains("cannot be read")));
    }

    /// As `/etc/passwd`, read before a container starts, a pipe would block podman completely.
    #[test]
    fn devices_and_pipes_are_refused() {
        for kind in [b'3', b'4', b'6'] {
            assert_eq!(refused(&[file("before"), header("passwd", kind, 0)]), Some(BadArchive::Device.to_string()));
        }
    }

    #[test]
    fn plain_layers_are_taken() {
        let large = {
            let mut header = tar::Header::from_byte_slice(&header("file", b'0', 0)).clone();
            header.as_old_mut().size = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
            header.set_cksum();
            [header.as_bytes().to_vec(), padded(b"abc".to_vec())].concat()
        };
        let end = vec![0; 2 * BLOCK_BYTES];
        let named = extended(b'x', &[("path", "a/very/long/name"), ("SCHILY.xattr.user.x", "=\n")]);
        let link = header("link", b'2', 0);
        let all = [extended(b'g', &[("comment", "x")]), file("one"), named, file(""), large, link, end];
        assert_eq!(refused(&all), None);
        // No parser reads beyond the end.
        assert_eq!(refused(&[file("one"), vec![0; 2 * BLOCK_BYTES], header("sparse", b'S', 512)]), None);
        assert_eq!(refused(&[b"short".to_vec()]), None);
    }

    #[test]
    fn bytes_are_counted_to_the_last_one() {
        let mut layer = Layer::new(512 + DISK_BLOCK_BYTES);
        layer.write_all(&header("file", b'0', DISK_BLOCK_BYTES)).unwrap();
        layer.write_all(&[1; 4_096]).unwrap();
        assert_eq!(layer.write(&[1]).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn each_entry_counts_as_the_blocks_that_it_takes_on_a_disk() {
        let counted = |entry: &[u8]| {
            let mut layer = Layer::new(100_000);
            layer.write_all(entry).unwrap();
            100_000 - layer.left - 512
        };
        for (kind, name) in [(b'0', "empty"), (b'5', "folder"), (b'2', "link"), (0, "folder/")] {
            assert_eq!(counted(&header(name, kind, 0)), DISK_BLOCK_BYTES, "{name}");
        }
        assert_eq!(counted(&file("x")), DISK_BLOCK_BYTES);
        assert_eq!(counted(&file(&"x".repeat(5_000))), 2 * DISK_BLOCK_BYTES);
        assert_eq!(counted(&header("hard", b'1', 0)), 0, "another name");
        let mut small = Layer::new(4_000);
        let refused = small.write(&header("empty", b'0', 0)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
    }
}
