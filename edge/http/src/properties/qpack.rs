//! QPACK: decoding of any bytes, and encoding by any use.

use std::sync::Arc;

use http::StatusCode;

use super::engine::field_coding::{DecodeError, Field, entry_size, huffman};
use super::engine::qpack::{self, Decoder};
use super::engine::{PreparedHead, SharedField, SharedFields};
use super::hpack::{Pair, class_of, take};

/// Maximum size of a list.
const LIST_BYTES_MAX: usize = 2_000;

/// Number of fields in the static table.
const STATIC_FIELDS: u64 = 99;

/// Reads a number of RFC 9204 §4.1.1.
fn integer(rest: &mut &[u8], prefix_bits: u32) -> Option<u64> {
    let first = take(rest, 1)?[0];
    let mask = 0xff_u8 >> (8 - prefix_bits);
    let mut value = u64::from(first & mask);
    if first & mask != mask {
        return Some(value);
    }
    for place in 0..9 {
        let byte = take(rest, 1)?[0];
        value += u64::from(byte & 127) * 128_u64.pow(place);
        if byte < 128 {
            return Some(value).filter(|value| *value < 1 << 62);
        }
    }
    None
}

fn string(rest: &mut &[u8], prefix_bits: u32) -> Option<Vec<u8>> {
    let is_coded = rest.first()? & (1 << prefix_bits) != 0;
    let length = integer(rest, prefix_bits)?;
    let text = take(rest, usize::try_from(length).ok()?)?;
    if !is_coded {
        return Some(text.to_vec());
    }
    let mut decoded = Vec::new();
    huffman::decode(text, &mut decoded).ok().map(|()| decoded)
}

/// Returns a field of the static table, read through the decoder under test.
fn static_field(number: u64) -> Option<Pair> {
    let section = match u8::try_from(number).ok().filter(|_| number < STATIC_FIELDS)? {
        small @ 0..63 => vec![0, 0, 0xc0 | small],
        large => vec![0, 0, 0xff, large - 63],
    };
    let mut found = None;
    let read = Decoder::default().decode(&section, usize::MAX, |field: Field<'_>| {
        found = Some((field.name.to_vec(), field.value.to_vec()));
    });
    read.ok().and(found)
}

/// Returns the fields of a section, `None` if invalid: written after the standard, for a decoder without a table.
fn plain(section: &[u8]) -> Option<Vec<Pair>> {
    let (mut rest, mut fields) = (section, Vec::new());
    if integer(&mut rest, 8)? != 0 || rest.first()? & 0x80 != 0 {
        return None;
    }
    integer(&mut rest, 7)?;
    while let Some(first) = rest.first().copied() {
        if first & 0xc0 == 0xc0 {
            fields.push(static_field(integer(&mut rest, 6)?)?);
        } else if first & 0xd0 == 0x50 {
            let (name, _) = static_field(integer(&mut rest, 4)?)?;
            fields.push((name, string(&mut rest, 7)?));
        } else if first & 0xe0 == 0x20 {
            fields.push((string(&mut rest, 3)?, string(&mut rest, 7)?));
        } else {
            return None;
        }
    }
    Some(fields)
}

/// Decodes a section with the decoder under test, and checks the class of each field.
fn read(decoder: &mut Decoder, section: &[u8], list_bytes_max: usize) -> Result<(Vec<Pair>, usize), DecodeError> {
    let mut fields: Vec<Pair> = Vec::new();
    let decoded = decoder.decode(section, list_bytes_max, |field: Field<'_>| {
        assert_eq!(field.class, class_of(field.name, field.value), "{field:?}");
        fields.push((field.name.to_vec(), field.value.to_vec()));
    })?;
    Ok((fields, decoded.list_bytes))
}

/// Checks that a section has equal meanings for the decoder and the plain decoder after any earlier section, and that
/// the meaning can be encoded and decoded again.
pub(super) fn a_section_is_read_like_the_standard_says(section: &[u8]) {
    let mut decoder = Decoder::default();
    let found = read(&mut decoder, section, LIST_BYTES_MAX);
    assert_eq!(read(&mut decoder, section, LIST_BYTES_MAX), found);
    let Some(expected) = plain(section) else {
        assert!(found.is_err(), "{section:x?} {found:?}");
        return;
    };
    let (fields, list_bytes) = found.unwrap();
    let sizes = expected.iter().map(|(name, value)| entry_size(name.len(), value.len()));
    assert_eq!(list_bytes, sizes.clone().sum::<usize>());
    let whole = sizes.scan(0, |sum, size| {
        *sum += size;
        Some(*sum)
    });
    assert_eq!(fields, expected[..whole.take_while(|sum| *sum <= LIST_BYTES_MAX).count()]);

    let texts: Vec<Pair> = expected.into_iter().filter(|(name, _)| str::from_utf8(name).is_ok()).collect();
    let (mut by_field, mut by_literal) = (Vec::new(), Vec::new());
    qpack::start(&mut by_field);
    qpack::start(&mut by_literal);
    for (name, value) in &texts {
        let name = str::from_utf8(name).unwrap();
        qpack::field(name, value, &mut by_field);
        by_literal.extend_from_slice(&qpack::literal(name, value));
    }
    assert!(by_literal.len() <= by_field.len());
    for written in [by_field, by_literal] {
        assert_eq!(read(&mut decoder, &written, usize::MAX).unwrap().0, texts);
    }
}

/// Checks that any composition of heads produces decodable output. Each byte of `input` is a step.
pub(super) fn what_is_written_is_read(input: &[u8]) {
    let names = ["set-cookie", "authorization", "content-length", "x-own", "accept-encoding", "vary", "cache-control"];
    let values =
        [&b""[..], b"gzip, deflate", b"a", b"\xff\x80", b"a longer value, with signs; of all kinds", b"no-cache"];
    let statuses = [100, 200, 204, 206, 301, 302, 304, 400, 404, 421, 500, 503, 599, 999];
    let mut steps = input.iter().copied().map(usize::from);
    let pair = |step: usize| (names[step % names.len()], values[step / 16 % values.len()]);
    let owned = |(name, value): (&str, &[u8])| (name.as_bytes().to_vec(), value.to_vec());
    while let Some(first) = steps.next() {
        let status = StatusCode::from_u16(statuses[first % statuses.len()]).unwrap();
        let (mut section, mut expected) = (Vec::new(), vec![owned((":status", status.as_str().as_bytes()))]);
        qpack::start(&mut section);
        qpack::status(status, &mut section);
        for step in steps.by_ref().take_while(|step| step % 8 != 0) {
            let (name, value) = pair(step);
            let other = pair(step + 5);
            match step % 4 {
                0 | 1 => {
                    let field = |(name, value): (&str, &[u8])| Arc::new(SharedField::new(name, value));
                    let list = SharedFields::new(Box::new([field(other), field(pair(step + 3))]));
                    let beside = (step & 0x80 != 0).then(|| field((name, value)));
                    let head = PreparedHead::with([(name, value)], list.into(), beside.clone());
                    qpack::prepared(&head, [&*field(other)], &mut section);
                    expected.extend([(name, value), other, pair(step + 3)].map(owned));
                    expected.extend(beside.map(|_| owned((name, value))));
                    expected.push(owned(other));
                }
                _ => {
                    qpack::field(name, value, &mut section);
                    expected.push(owned((name, value)));
                }
            }
        }
        let (fields, _) = read(&mut Decoder::default(), &section, usize::MAX).unwrap();
        assert_eq!(plain(&section).as_ref(), Some(&expected));
        assert_eq!(fields, expected);
    }
}
