//! RFC 9204 by the example without a dynamic table (Appendix B.1), the static table and the rules.

use std::sync::Arc;

use http::StatusCode;

use super::static_table::FIELDS;
use super::*;
use crate::field_coding::{Class, DecodeError, Field};
use crate::{PreparedHead, SharedField, SharedFields};

/// Names and values as text.
type Pairs = Vec<(String, String)>;

fn pairs(fields: &[(&str, &str)]) -> Pairs {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn decode(section: &[u8]) -> Result<Pairs, DecodeError> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Decoder::default()
        .decode(section, usize::MAX, |field: Field<'_>| fields.push((text(field.name), text(field.value))))?;
    Ok(fields)
}

/// Decodes fields after a prefix without a table.
fn fields(bytes: &[u8]) -> Result<Pairs, DecodeError> {
    decode(&[&[0, 0][..], bytes].concat())
}

#[test]
fn the_section_of_appendix_b_1_is_read_and_written() {
    let section = b"\x00\x00\x51\x0b/index.html";
    assert_eq!(decode(section), Ok(pairs(&[(":path", "/index.html")])));
    // Not matched by a prefix: `:path` has no index for answers.
    let mut written = Vec::new();
    start(&mut written);
    field("link", b"/index.html", &mut written);
    assert_eq!(written, b"\x00\x00\x5b\x0b/index.html");
}

#[test]
fn every_field_of_the_static_table_is_read_by_its_number_and_its_name() {
    for (number, (name, value, _)) in FIELDS.iter().enumerate() {
        let number = u8::try_from(number).unwrap();
        let indexed = if number < 63 { vec![0xc0 | number] } else { vec![0xff, number - 63] };
        assert_eq!(fields(&indexed), Ok(pairs(&[(name, value)])));
        for first in [0x50, 0x70] {
            let named = if number < 15 { vec![first | number] } else { vec![first | 15, number - 15] };
            assert_eq!(fields(&[&named[..], b"\x01v"].concat()), Ok(pairs(&[(name, "v")])));
        }
        if !name.starts_with(':') || *name == ":status" {
            assert_eq!(literal(name, value.as_bytes()), indexed, "{name}");
        }
    }
    assert_eq!((FIELDS[0].0, FIELDS[98].1), (":authority", "sameorigin"));
    for beyond in [&[0xff, 36][..], &[0x5f, 84, 0], &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        assert_eq!(fields(beyond), Err(DecodeError::Index), "{beyond:x?}");
    }
}

#[test]
fn what_refers_to_a_dynamic_table_is_refused() {
    // §4.5.1.1: a required entry; §4.5.1.2: a base below 0.
    for section in [&b"\x01\x00"[..], b"\xff\x00\x00", b"\x00\x80", b"\x02\x00\xc0", b"\x00\x81\xd1"] {
        assert_eq!(decode(section), Err(DecodeError::DynamicTable), "{section:x?}");
    }
    // §4.5.2 to §4.5.5: an entry before or after the base, or its name.
    for line in
        [&b"\x80"[..], b"\xbf\x00", b"\x40\x01a", b"\x60\x01a", b"\x10", b"\x1f\x00", b"\x00\x01a", b"\x08\x01a"]
    {
        assert_eq!(fields(line), Err(DecodeError::DynamicTable), "{line:x?}");
    }
    // Without entries, a nonzero base has no meaning.
    assert_eq!(decode(b"\x00\x07\xd1"), Ok(pairs(&[(":method", "GET")])));
    let far = [&[0x00, 0x7f][..], &[0x80; 8], &[0x3f, 0xd1]].concat();
    assert_eq!(decode(&far), Ok(pairs(&[(":method", "GET")])));
    assert_eq!(decode(&[&[0x00, 0x7f][..], &[0xff; 9], &[0x00]].concat()), Err(DecodeError::Overflow));
}

#[test]
fn a_section_that_ends_within_a_field_is_refused() {
    for line in [&b"\x5f\x00\x03abc"[..], b"\x23abc\x03def", b"\x27\x00abcdefg\x01v", b"\x29\x1f\x81\x1f"] {
        let section = [&[0, 0][..], line].concat();
        for end in (0..section.len()).filter(|end| *end != 2) {
            assert_eq!(decode(&section[..end]), Err(DecodeError::Truncated), "{line:x?} {end}");
        }
    }
    assert_eq!(decode(&[0, 0]), Ok(Vec::new()));
    assert_eq!(fields(b"\x51\x81\x1e"), Err(DecodeError::Huffman));
}

#[test]
fn a_field_has_its_class_however_it_is_written() {
    let mut classes = Vec::new();
    let section = b"\x00\x00\xd1\xc1\x51\x02/ \x50\x01h\x2b\x9c\xe8\x4f\x01h\x22te\x04gzip\x22te\x08trailers\x21X\x00";
    Decoder::default().decode(section, usize::MAX, |field: Field<'_>| classes.push(field.class)).unwrap();
    use Class::{Authority, ConnectionSpecific, Host, Malformed, Method, Path, Te};
    assert_eq!(classes, [Method, Path, Malformed, Authority, Host, ConnectionSpecific, Te, Malformed]);
}

#[test]
fn fields_beyond_the_largest_list_are_counted_but_not_given() {
    // RFC 9114 §4.2.2: 34 for each.
    let section = b"\x00\x00\x21a\x011\x21b\x012\x21c\x013";
    for (list_bytes_max, given) in [(0, 0), (33, 0), (34, 1), (67, 1), (68, 2), (101, 2), (102, 3)] {
        let mut count = 0;
        let decoded = Decoder::default().decode(section, list_bytes_max, |_: Field<'_>| count += 1).unwrap();
        assert_eq!((decoded.list_bytes, count), (102, given), "{list_bytes_max}");
    }
}

#[test]
fn literals_are_as_short_as_they_can_be() {
    assert_eq!(literal("cache-control", b"no-cache"), [0xc0 | 39]);
    assert_eq!(literal("vary", b"accept-encoding"), [0xc0 | 59]);
    assert_eq!(literal("x-frame-options", b"deny"), [0xff, 97 - 63]);
    assert_eq!(literal("content-length", b"604"), b"\x54\x03604");
    assert_eq!(literal("last-modified", b""), [0xc0 | 10]);
    assert_eq!(
        literal("cache-control", b"www.example.com"),
        b"\x5f\x15\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"
    );
    // The Huffman code would be equally long.
    assert_eq!(literal("x", b"&"), b"\x21x\x01&");
    assert_eq!(literal("custom-key", b""), b"\x2f\x01\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x00");
}

#[test]
fn what_may_be_secret_is_never_to_be_kept() {
    let written = |name: &str, value: &[u8]| {
        let mut section = Vec::new();
        field(name, value, &mut section);
        section
    };
    assert_eq!(written("set-cookie", b"a=1"), b"\x7e\x03a=1");
    assert_eq!(written("cookie", b"a=1"), b"\x75\x03a=1");
    assert_eq!(written("authorization", b"b"), b"\x7f\x45\x01b");
    assert_eq!(written("proxy-authorization", b"b"), [&b"\x37\x0cproxy-authorization"[..], b"\x01b"].concat());
    assert_eq!(written("x-own", b"b"), b"\x25x-own\x01b");
    assert_eq!(written("vary", b"origin"), [0xc0 | 60]);
}

#[test]
fn statuses_are_numbers_where_the_table_has_them() {
    for (code, expected) in
        [(200, &b"\xd9"[..]), (304, b"\xda"), (404, b"\xdb"), (206, b"\xff\x02"), (301, b"\x5f\x09\x03301")]
    {
        let mut section = Vec::new();
        status(StatusCode::from_u16(code).unwrap(), &mut section);
        assert_eq!(section, expected);
    }
}

#[test]
fn a_prepared_head_is_its_own_fields_and_those_it_shares() {
    let shared =
        [("vary", &b"accept-encoding"[..]), ("x-own", b"1")].map(|(name, value)| SharedField::new(name, value));
    let list = Arc::new(SharedFields::new(shared.map(Arc::new).into()));
    let beside = Arc::new(SharedField::new("age", b"1"));
    let own = [("etag", &b"\"1\""[..]), ("content-length", b"5")];
    let mut section = Vec::new();
    start(&mut section);
    let date = SharedField::new("date", b"now");
    prepared(&PreparedHead::with(own, list, Some(beside)), [&date], &mut section);
    let expected =
        [("etag", "\"1\""), ("content-length", "5"), ("vary", "accept-encoding"), ("x-own", "1"), ("age", "1")];
    assert_eq!(decode(&section), Ok(pairs(&[&expected[..], &[("date", "now")]].concat())));
}

#[test]
fn an_encoder_without_a_table_has_nothing_to_say() {
    assert_eq!(EncoderStream.read(b""), Ok(0));
    assert_eq!(EncoderStream.read(b"\x20\x20"), Ok(2));
    assert_eq!(EncoderStream.read(b"\x20\x20\x00\x20"), Err(Refused { after: 2 }));
    // A table of 1 and of 31 bytes, an entry with an indexed and a literal name, and a duplicate.
    for bytes in [&b"\x21"[..], b"\x3f\x00", b"\xc1\x01v", b"\x80\x00", b"\x41n\x01v", b"\x00", b"\x20\x20\x00"] {
        assert!(EncoderStream.read(bytes).is_err(), "{bytes:x?}");
    }
}

#[test]
fn a_decoder_may_say_which_streams_it_does_not_read_and_nothing_else() {
    let longest = [&[0x7f][..], &[0xff; 8], &[0x7f]].concat();
    let all = [&b"\x44\x7f\x00\x7e\x7f\x80\x01"[..], &longest, b"\x40"].concat();
    assert_eq!(DecoderStream::default().read(&all), Ok(6));
    for cut in 0..all.len() {
        let (begin, rest) = all.split_at(cut);
        let mut stream = DecoderStream::default();
        assert_eq!(stream.read(begin).unwrap() + stream.read(rest).unwrap(), 6, "{cut}");
    }
    // Acknowledgements without a cause, and an unfinished number.
    for bytes in
        [&b"\x80"[..], b"\xff\x00", b"\x00", b"\x01", b"\x3f\x00", b"\x44\x01", &[&[0x7f][..], &[0xff; 9]].concat()]
    {
        assert!(DecoderStream::default().read(bytes).is_err(), "{bytes:x?}");
    }
}
