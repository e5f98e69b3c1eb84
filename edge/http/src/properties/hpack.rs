//! HPACK: decoding of any bytes, and encoding by any use.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use http::StatusCode;

use super::engine::field_coding::{Class, DecodeError, Field, entry_size, huffman};
use super::engine::hpack::{Decoder, Encoder, TABLE_BYTES_DEFAULT};
use super::engine::{PreparedHead, SharedField};

/// Separator of blocks: a byte that no complete block begins with and that rarely occurs within a block.
pub(super) const END_OF_BLOCK: u8 = 0x3e;

/// Maximum memory of a decoder between blocks.
const MEMORY_MAX: usize = 8 * TABLE_BYTES_DEFAULT;

/// Maximum size of a list.
const LIST_BYTES_MAX: usize = 2_000;

/// Name and value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// Decoder written directly after the standard, regardless of cost.
struct Plain {
    /// Entries, newest first.
    table: VecDeque<Pair>,
    max: usize,
    announced: usize,
}

impl Plain {
    fn new(announced: usize) -> Self {
        Self { table: VecDeque::new(), max: announced, announced }
    }

    fn size(&self) -> usize {
        self.table.iter().map(|(name, value)| entry_size(name.len(), value.len())).sum()
    }

    fn evict(&mut self, bytes: usize) {
        while self.size() > bytes {
            self.table.pop_back();
        }
    }

    fn entry(&self, number: usize) -> Option<Pair> {
        match number {
            0 => None,
            1..=61 => {
                // Static table, read through the decoder under test with an empty dynamic table.
                let mut found = None;
                let field = u8::try_from(number).ok()? | 0x80;
                let read = Decoder::new(0).decode(&[field], usize::MAX, |field: Field<'_>| {
                    found = Some((field.name.to_vec(), field.value.to_vec()));
                });
                read.ok().and(found)
            }
            _ => self.table.get(number - 62).cloned(),
        }
    }

    fn integer(rest: &mut &[u8], prefix_bits: u32) -> Option<usize> {
        let first = take(rest, 1)?[0];
        let mask = 0xff_u8 >> (8 - prefix_bits);
        let mut value = usize::from(first & mask);
        if first & mask != mask {
            return Some(value);
        }
        for place in 0..4 {
            let byte = take(rest, 1)?[0];
            value += usize::from(byte & 127) * 128_usize.pow(place);
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }

    fn string(rest: &mut &[u8]) -> Option<Vec<u8>> {
        let is_coded = rest.first()? & 0x80 != 0;
        let length = Self::integer(rest, 7)?;
        let text = take(rest, length)?;
        if !is_coded {
            return Some(text.to_vec());
        }
        let mut decoded = Vec::new();
        huffman::decode(text, &mut decoded).ok().map(|()| decoded)
    }

    /// Returns the fields of a block, `None` if invalid.
    fn decode(&mut self, block: &[u8]) -> Option<Vec<Pair>> {
        let (mut rest, mut fields, mut sizes) = (block, Vec::new(), 0);
        while let Some(first) = rest.first().copied() {
            if first & 0x80 != 0 {
                fields.push(self.entry(Self::integer(&mut rest, 7)?)?);
            } else if first & 0xe0 == 0x20 {
                let size = Self::integer(&mut rest, 5)?;
                sizes += 1;
                if size > self.announced || !fields.is_empty() || sizes > 2 {
                    return None;
                }
                self.max = size;
                self.evict(size);
            } else {
                let is_inserted = first & 0x40 != 0;
                let number = Self::integer(&mut rest, if is_inserted { 6 } else { 4 })?;
                let name = if number == 0 { Self::string(&mut rest)? } else { self.entry(number)?.0 };
                let value = Self::string(&mut rest)?;
                if is_inserted {
                    let size = entry_size(name.len(), value.len());
                    self.evict(self.max.saturating_sub(size));
                    if size <= self.max {
                        self.table.push_front((name.clone(), value.clone()));
                    }
                }
                fields.push((name, value));
            }
        }
        Some(fields)
    }
}

/// Takes the next bytes.
pub(super) fn take<'b>(rest: &mut &'b [u8], bytes: usize) -> Option<&'b [u8]> {
    let (taken, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Some(taken)
}

/// Returns the class of a field by the words of RFC 9113 §8.2 and §8.3.
pub(super) fn class_of(name: &[u8], value: &[u8]) -> Class {
    let is_pseudo = name.first() == Some(&b':');
    let bare = if is_pseudo { &name[1..] } else { name };
    let is_name = http::HeaderName::from_bytes(bare).is_ok() && !bare.iter().any(u8::is_ascii_uppercase);
    let has_space = value.trim_ascii() != value || is_pseudo && value.iter().any(|byte| matches!(byte, b' ' | b'\t'));
    if !is_name || http::HeaderValue::from_bytes(value).is_err() || has_space {
        return Class::Malformed;
    }
    match name {
        b":method" => Class::Method,
        b":scheme" => Class::Scheme,
        b":authority" if !value.iter().all(is_of_authority) => Class::Malformed,
        b":authority" => Class::Authority,
        b":path" => Class::Path,
        _ if is_pseudo => Class::UnknownPseudo,
        b"host" => Class::Host,
        b"cookie" => Class::Cookie,
        b"content-length" => Class::ContentLength,
        b"te" if value.eq_ignore_ascii_case(b"trailers") => Class::Te,
        b"te" | b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            Class::ConnectionSpecific
        }
        _ => Class::Regular,
    }
}

/// Returns true if a byte may be in an authority without a user (RFC 3986 §3.2).
fn is_of_authority(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte)
}

/// Decodes a block with the decoder under test, checks classes and sizes, and returns the fields of a list within the
/// limit.
fn read(decoder: &mut Decoder, block: &[u8], list_bytes_max: usize) -> Result<(Vec<Pair>, usize), DecodeError> {
    let mut fields: Vec<Pair> = Vec::new();
    let decoded = decoder.decode(block, list_bytes_max, |field: Field<'_>| {
        assert_eq!(field.class, class_of(field.name, field.value), "{field:?}");
        fields.push((field.name.to_vec(), field.value.to_vec()));
    })?;
    assert!(decoder.table_bytes() <= decoder.table_bytes_max());
    assert!(decoder.memory() <= MEMORY_MAX, "{}", decoder.memory());
    Ok((fields, decoded.list_bytes))
}

/// Checks that blocks separated by [`END_OF_BLOCK`] have equal meanings for the decoder and the plain decoder, and that
/// the meaning can be encoded and decoded again.
pub(super) fn blocks_are_read_like_the_standard_says(input: &[u8]) {
    let (mut decoder, mut plain) = (Decoder::new(TABLE_BYTES_DEFAULT), Plain::new(TABLE_BYTES_DEFAULT));
    let (mut encoder, mut again) = (Encoder::new(), Decoder::new(TABLE_BYTES_DEFAULT));
    for block in input.split(|byte| *byte == END_OF_BLOCK) {
        let found = read(&mut decoder, block, LIST_BYTES_MAX);
        let Some(expected) = plain.decode(block) else {
            assert!(found.is_err(), "{block:x?} {found:?}");
            return;
        };
        let (fields, list_bytes) = found.unwrap();
        assert_eq!((decoder.table_bytes(), decoder.table_bytes_max()), (plain.size(), plain.max));
        let sizes = expected.iter().map(|(name, value)| entry_size(name.len(), value.len()));
        assert_eq!(list_bytes, sizes.clone().sum::<usize>());
        let whole = sizes.scan(0, |sum, size| {
            *sum += size;
            Some(*sum)
        });
        assert_eq!(fields, expected[..whole.take_while(|sum| *sum <= LIST_BYTES_MAX).count()]);

        let mut written = Vec::new();
        encoder.begin(&mut written);
        let texts: Vec<_> =
            expected.iter().filter_map(|(name, value)| Some((str::from_utf8(name).ok()?, value))).collect();
        for (name, value) in &texts {
            encoder.field(name, value, &mut written);
        }
        let (fields, _) = read(&mut again, &written, usize::MAX).unwrap();
        assert!(
            fields
                .iter()
                .map(|(name, value)| (&name[..], value))
                .eq(texts.iter().map(|(name, value)| (name.as_bytes(), *value)))
        );
    }
}

/// Names and values shared by many answers: of all sizes up to more than the table.
static SHARED: LazyLock<Vec<(Arc<SharedField>, Pair)>> = LazyLock::new(|| {
    let fields = [
        ("cache-control", 20),
        ("vary", 15),
        ("content-type", 24),
        ("x-robots-tag", 7),
        ("date", 29),
        ("server", 0),
        ("content-security-policy", 600),
        ("permissions-policy", 1_000),
        ("x-half-of-it", 2_048 - 32 - 12),
        ("x-just-over-half", 2_049 - 32 - 16),
        ("x-too-large", 4_100),
    ];
    let field = |(name, bytes): (&str, usize)| {
        let value: Vec<u8> = (b' '..=b'~').cycle().skip(bytes % 50 + 1).take(bytes).collect();
        let value = value.trim_ascii().to_vec();
        (Arc::new(SharedField::new(name, &value)), (name.as_bytes().to_vec(), value))
    };
    fields.into_iter().map(field).collect()
});

/// Fields so short that the table holds more than a byte can number.
static SHORT: LazyLock<Vec<(Arc<SharedField>, Pair)>> = LazyLock::new(|| {
    let field = |number: u8| {
        let (name, value) = (format!("x-{number}"), vec![b'0' + number % 10]);
        (Arc::new(SharedField::new(&name, &value)), (name.into_bytes(), value))
    };
    (0..100).map(field).collect()
});

/// Checks that any use of the encoder produces decodable output, and that the encoder knows the content of the peer's
/// table. Each byte of `input` is a step.
pub(super) fn what_is_written_is_read(input: &[u8]) {
    let sizes = [0, 1, 33, 70, 100, 200, 1_000, 4_095, 4_096, 65_536];
    let names = ["set-cookie", "authorization", "content-length", "x-own", "accept-encoding", "vary"];
    let values = [&b""[..], b"gzip, deflate", b"a", b"\xff\x80", b"a longer value, with signs; of all kinds"];
    let statuses = [200, 204, 206, 301, 304, 400, 404, 500, 503, 999];
    let mut encoder = Encoder::new();
    let (mut decoder, mut plain) = (Decoder::new(TABLE_BYTES_DEFAULT), Plain::new(TABLE_BYTES_DEFAULT));
    let mut allowed = TABLE_BYTES_DEFAULT;
    let mut input = input.iter().copied().map(usize::from);
    while let Some(first) = input.next() {
        // Several size changes of the peer, then a block.
        for _ in 0..first % 4 {
            allowed = sizes[input.next().unwrap_or_default() % sizes.len()];
            encoder.resize(u32::try_from(allowed).unwrap());
        }
        let (mut block, mut expected) = (Vec::new(), Vec::new());
        encoder.begin(&mut block);
        let status = StatusCode::from_u16(statuses[first / 4 % statuses.len()]).unwrap();
        encoder.status(status, &mut block);
        expected.push((b":status".to_vec(), status.as_str().as_bytes().to_vec()));
        for step in input.by_ref().take_while(|step| step % 8 != 0) {
            let place = step / 8;
            // Large fields rarely: a few fill the table.
            let (field, pair) = &SHARED[if place < 24 { place % 6 } else { place % SHARED.len() }];
            let (name, value) = (names[place % names.len()], values[place % values.len()]);
            match step % 8 {
                1..=4 => {
                    encoder.shared(field, &mut block);
                    expected.push(pair.clone());
                }
                5 => {
                    // Mostly the same fields, followed by different fields.
                    let short = SHORT.iter().cycle().skip(place % 3 * 20).take(place % 23);
                    let ahead = SHARED.get(place % 6).filter(|_| place < 24);
                    let shared: Vec<_> = ahead.into_iter().chain(short).collect();
                    let more: Vec<_> = SHORT.iter().skip(60 + place % 7).take(place % 4).collect();
                    let head =
                        PreparedHead::new([(name, value)], shared.iter().map(|(field, _)| field.clone()).collect());
                    encoder.prepared(&head, more.iter().map(|(field, _)| &**field), &mut block);
                    expected.extend(shared.iter().chain(&more).map(|(_, pair)| pair.clone()));
                    expected.push((name.into(), value.into()));
                }
                _ => {
                    encoder.field(name, value, &mut block);
                    expected.push((name.into(), value.into()));
                }
            }
        }
        let (fields, _) = read(&mut decoder, &block, usize::MAX).unwrap();
        assert_eq!(fields, expected);
        assert_eq!(plain.decode(&block), Some(expected));
        assert_eq!((encoder.table_bytes(), plain.size()), (decoder.table_bytes(), decoder.table_bytes()));
        assert!(decoder.table_bytes_max() <= allowed);
    }
}
