//! RFC 7541 by its examples (Appendix C) and rules, and the additions of RFC 9113.

use std::sync::Arc;

use http::StatusCode;

use super::*;
use crate::field_coding::{Class, DecodeError, Field};
use crate::{PreparedHead, SharedField, SharedFields};

/// Names and values as text.
type Pairs = Vec<(String, String)>;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn pairs(fields: &[(&str, &str)]) -> Pairs {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Pairs, DecodeError> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    decoder.decode(block, usize::MAX, |field: Field<'_>| fields.push((text(field.name), text(field.value))))?;
    Ok(fields)
}

/// Returns the content of the dynamic table, newest first.
fn entries(decoder: &mut Decoder) -> Pairs {
    (62..127_u8).map_while(|number| decode(decoder, &[0x80 | number]).ok()).flatten().collect()
}

/// Block, fields, and the size and content of the table afterwards.
type Example<'e> = (&'e str, &'e [(&'e str, &'e str)], usize, &'e [(&'e str, &'e str)]);

/// Decodes blocks in order, and checks the fields and the table after each block.
fn check(decoder: &mut Decoder, examples: &[Example<'_>]) {
    for (block, fields, table_bytes, table) in examples {
        assert_eq!(decode(decoder, &hex(block)), Ok(pairs(fields)));
        assert_eq!(decoder.table_bytes(), *table_bytes);
        assert_eq!(entries(decoder), pairs(table));
    }
}

const CUSTOM: (&str, &str) = ("custom-key", "custom-header");

#[test]
fn the_fields_of_appendix_c_2_are_read() {
    let mut decoder = Decoder::new(4_096);
    let block = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    check(&mut decoder, &[(block, &[CUSTOM], 55, &[CUSTOM])]);
    for (block, field) in [
        ("040c 2f73 616d 706c 652f 7061 7468", (":path", "/sample/path")),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", ("password", "secret")),
        ("82", (":method", "GET")),
    ] {
        check(&mut Decoder::new(4_096), &[(block, &[field], 0, &[])]);
    }
}

#[test]
fn the_requests_of_appendix_c_3_and_c_4_are_read() {
    let (authority, no_cache) = ((":authority", "www.example.com"), ("cache-control", "no-cache"));
    let custom = ("custom-key", "custom-value");
    let first = [(":method", "GET"), (":scheme", "http"), (":path", "/"), authority];
    let second = [(":method", "GET"), (":scheme", "http"), (":path", "/"), authority, no_cache];
    let third = [(":method", "GET"), (":scheme", "https"), (":path", "/index.html"), authority, custom];
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        check(
            &mut Decoder::new(4_096),
            &[
                (blocks[0], &first, 57, &[authority]),
                (blocks[1], &second, 110, &[no_cache, authority]),
                (blocks[2], &third, 164, &[custom, no_cache, authority]),
            ],
        );
    }
}

#[test]
fn the_answers_of_appendix_c_5_and_c_6_are_read() {
    let (found, moved) = ((":status", "302"), (":status", "307"));
    let (private, location) = (("cache-control", "private"), ("location", "https://www.example.com"));
    let date = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
    let later = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
    let (gzip, cookie) =
        (("content-encoding", "gzip"), ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"));
    for blocks in [
        [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
             474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738
             666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33
             3630 303b 2076 6572 7369 6f6e 3d31",
        ],
        [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
             63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7
             b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
    ] {
        check(
            &mut Decoder::new(256),
            &[
                (blocks[0], &[found, private, date, location], 222, &[location, date, private, found]),
                (blocks[1], &[moved, private, date, location], 222, &[moved, location, date, private]),
                (blocks[2], &[(":status", "200"), private, later, location, gzip, cookie], 215, &[cookie, gzip, later]),
            ],
        );
    }
}

#[test]
fn a_number_that_no_table_has_is_refused() {
    // §2.3.3, §6.1: as a field, and as a name.
    for block in [&[0x80][..], &[0xbe], &[0xff, 0x00], &[0x7e, 0x00], &[0x0f, 0x2f, 0x00], &[0x1f, 0x2f, 0x00]] {
        assert_eq!(decode(&mut Decoder::new(4_096), block), Err(DecodeError::Index), "{block:x?}");
    }
    assert_eq!(decode(&mut Decoder::new(4_096), &[0xbd]), Ok(pairs(&[("www-authenticate", "")])));
    assert_eq!(decode(&mut Decoder::new(4_096), &[0x7d, 0x00]), Ok(pairs(&[("www-authenticate", "")])));
    let mut decoder = Decoder::new(4_096);
    decode(&mut decoder, b"\x40\x01a\x01b\xbe").unwrap();
    assert_eq!(decode(&mut decoder, &[0xbf]), Err(DecodeError::Index));
}

#[test]
fn a_block_that_ends_within_a_field_is_refused() {
    let block = b"\x40\x01a\x01b";
    for end in 1..block.len() {
        assert_eq!(decode(&mut Decoder::new(4_096), &block[..end]), Err(DecodeError::Truncated), "{end}");
    }
    assert_eq!(decode(&mut Decoder::new(4_096), b"\x40\x7f\xff\xff\xff\xff\x01"), Err(DecodeError::Overflow));
    assert_eq!(decode(&mut Decoder::new(4_096), &[]), Ok(Vec::new()));
}

#[test]
fn sizes_come_before_all_fields_and_no_more_than_twice() {
    // §4.2 and §6.3.
    let mut decoder = Decoder::new(4_096);
    assert_eq!(decode(&mut decoder, b"\x20\x3f\xe1\x1f\x82"), Ok(pairs(&[(":method", "GET")])));
    assert_eq!(decoder.table_bytes_max(), 4_096);
    assert_eq!(decode(&mut decoder, b"\x20"), Ok(Vec::new()));
    assert_eq!(decoder.table_bytes_max(), 0);
    for block in [&b"\x20\x20\x20"[..], b"\x82\x20", b"\x20\x82\x20", b"\x00\x01a\x01b\x20"] {
        assert_eq!(decode(&mut Decoder::new(4_096), block), Err(DecodeError::TableSizePlace), "{block:x?}");
    }
    assert_eq!(decode(&mut Decoder::new(4_096), b"\x3f\xe2\x1f"), Err(DecodeError::TableSize));
    assert_eq!(decode(&mut Decoder::new(0), b"\x21"), Err(DecodeError::TableSize));
    assert_eq!(decode(&mut Decoder::new(0), b"\x20"), Ok(Vec::new()));
}

#[test]
fn entries_go_when_others_or_a_smaller_table_take_their_room() {
    // §4.3 and §4.4; each entry takes 34.
    let mut decoder = Decoder::new(102);
    decode(&mut decoder, b"\x40\x01a\x011\x40\x01b\x012\x40\x01c\x013").unwrap();
    assert_eq!(decoder.table_bytes(), 102);
    decode(&mut decoder, b"\x40\x01d\x014").unwrap();
    assert_eq!(entries(&mut decoder), pairs(&[("d", "4"), ("c", "3"), ("b", "2")]));
    decode(&mut decoder, b"\x3f\x25").unwrap();
    assert_eq!(entries(&mut decoder), pairs(&[("d", "4"), ("c", "3")]));
    decode(&mut decoder, b"\x3f\x24").unwrap();
    assert_eq!(entries(&mut decoder), pairs(&[("d", "4")]));
}

#[test]
fn a_field_larger_than_the_table_empties_it_and_is_given_all_the_same() {
    let mut decoder = Decoder::new(68);
    decode(&mut decoder, b"\x40\x01a\x011").unwrap();
    let large = [&b"\x40\x01b\x24"[..], &[b'v'; 36]].concat();
    assert_eq!(decode(&mut decoder, &large), Ok(vec![("b".to_owned(), "v".repeat(36))]));
    assert_eq!((decoder.table_bytes(), entries(&mut decoder)), (0, Vec::new()));
    let exact = [&b"\x40\x01b\x23"[..], &[b'v'; 35]].concat();
    assert_eq!(decode(&mut decoder, &exact), Ok(vec![("b".to_owned(), "v".repeat(35))]));
    assert_eq!(decoder.table_bytes(), 68);
}

#[test]
fn a_name_may_be_that_of_an_entry_that_goes_for_it() {
    // §4.4.
    let mut decoder = Decoder::new(40);
    decode(&mut decoder, b"\x40\x04name\x04last").unwrap();
    for value in ["next", "more"] {
        let block = [&b"\x7e\x04"[..], value.as_bytes()].concat();
        assert_eq!(decode(&mut decoder, &block), Ok(pairs(&[("name", value)])));
        assert_eq!(entries(&mut decoder), pairs(&[("name", value)]));
    }
}

#[test]
fn entries_keep_their_text_while_thousands_of_others_come_and_go() {
    let mut decoder = Decoder::new(4_096);
    let coded = literal_inserting("x-coded", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    for round in 0..3_000_usize {
        let value = vec![b'a' + u8::try_from(round % 26).unwrap(); round % 70];
        decode(&mut decoder, &literal_inserting("x-name", &value)).unwrap();
        decode(&mut decoder, &coded).unwrap();
        let found = decode(&mut decoder, &[0xbe, 0xbf]).unwrap();
        assert_eq!(found[0].1, "a".repeat(38));
        assert_eq!(found[1].1.as_bytes(), value);
        assert!(decoder.memory() <= 8 * 4_096, "{}", decoder.memory());
    }
}

#[test]
fn a_name_that_goes_from_entry_to_entry_is_kept_with_the_last() {
    let mut decoder = Decoder::new(4_096);
    decode(&mut decoder, b"\x40\x04name\x01a").unwrap();
    for _ in 0..20_000 {
        assert_eq!(decode(&mut decoder, b"\x7e\x01b"), Ok(pairs(&[("name", "b")])));
    }
    assert!(decoder.memory() <= 4 * 4_096, "{}", decoder.memory());
}

#[test]
fn a_decoder_holds_no_memory_until_it_needs_some_and_gives_back_much() {
    let mut decoder = Decoder::new(4_096);
    assert_eq!(decoder.memory(), 0);
    decode(&mut decoder, b"\x82\x86\x84\x04\x01/").unwrap();
    assert_eq!(decoder.memory(), 0);
    decode(&mut decoder, b"\x40\x01a\x01b").unwrap();
    assert!(decoder.memory() >= 34);
    let long = literal("x-long", &[b'a'; 100_000]);
    assert!(long.len() < 65_000, "it is in the code");
    assert_eq!(decode(&mut decoder, &long).unwrap()[0].1.len(), 100_000);
    assert!(decoder.memory() <= 4 * 4_096, "{}", decoder.memory());
}

#[test]
fn fields_beyond_the_largest_list_are_counted_and_kept_but_not_given() {
    // RFC 9113 §6.5.2: 34 for each.
    let block = b"\x40\x01a\x011\x40\x01b\x012\x40\x01c\x013\xbe";
    for (list_bytes_max, given) in [(0, 0), (33, 0), (34, 1), (67, 1), (68, 2), (135, 3), (136, 4)] {
        let mut decoder = Decoder::new(4_096);
        let mut fields = 0;
        let decoded = decoder.decode(block, list_bytes_max, |_: Field<'_>| fields += 1).unwrap();
        assert_eq!((decoded.list_bytes, fields), (136, given), "{list_bytes_max}");
        assert_eq!(entries(&mut decoder), pairs(&[("c", "3"), ("b", "2"), ("a", "1")]));
    }
}

#[test]
fn a_field_has_its_class_however_it_is_written() {
    let mut decoder = Decoder::new(4_096);
    let mut classes = |block: &[u8]| {
        let mut classes = Vec::new();
        decoder.decode(block, usize::MAX, |field: Field<'_>| classes.push(field.class)).unwrap();
        classes
    };
    // The value of an entry does not affect a field with only its name.
    assert_eq!(classes(b"\x40\x01X\x01b\xbe\x7e\x01c\x0f\x2f\x01c"), [Class::Malformed; 4]);
    assert_eq!(
        classes(b"\x40\x01x\x01\x00\xbe\x7e\x01c\xbe"),
        [Class::Malformed, Class::Malformed, Class::Regular, Class::Regular]
    );
    assert_eq!(
        classes(b"\x40\x02te\x04gzip\xbe\x7e\x08trailers\xbe"),
        [Class::ConnectionSpecific, Class::ConnectionSpecific, Class::Te, Class::Te]
    );
    assert_eq!(
        classes(b"\x04\x02/ \x44\x02/a\xbe\x66\x01h\x00\x04host\x01h"),
        [Class::Malformed, Class::Path, Class::Path, Class::Host, Class::Host]
    );
}

#[test]
fn literals_are_as_short_as_they_can_be() {
    assert_eq!(literal("cache-control", b"no-cache"), hex("0f09 86a8 eb10 649c bf"));
    assert_eq!(literal_inserting("cache-control", b"no-cache"), hex("5886 a8eb 1064 9cbf"));
    assert_eq!(
        literal_inserting("custom-key", b"custom-value"),
        hex("4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf")
    );
    // The Huffman code would be equally long or longer.
    assert_eq!(literal("etag", b"\"\""), b"\x0f\x13\x02\"\"");
    assert_eq!(literal("x", b"&"), b"\x00\x01x\x01&");
    assert_eq!(literal("age", b""), b"\x0f\x06\x00");
}

#[test]
fn what_may_be_secret_is_never_to_be_kept() {
    // §7.1.3, and §6.2.3 for the pattern.
    let mut encoder = Encoder::new();
    let mut written = |name: &str, value: &[u8]| {
        let mut block = Vec::new();
        encoder.field(name, value, &mut block);
        block
    };
    assert_eq!(written("set-cookie", b"a=1"), b"\x1f\x28\x03a=1");
    assert_eq!(written("cookie", b"a=1"), b"\x1f\x11\x03a=1");
    assert_eq!(written("authorization", b"b"), b"\x1f\x08\x01b");
    assert_eq!(written("proxy-authorization", b"b"), b"\x1f\x22\x01b");
    assert_eq!(written("vary", b"b"), b"\x0f\x2c\x01b");
    assert_eq!(written("x-own", b"b"), b"\x00\x05x-own\x01b");
    assert_eq!(written("vary", b""), [0x80 | 59]);
}

#[test]
fn statuses_are_numbers_where_the_table_has_them() {
    for (status, expected) in [
        (200, &b"\x88"[..]),
        (204, b"\x89"),
        (206, b"\x8a"),
        (304, b"\x8b"),
        (400, b"\x8c"),
        (404, b"\x8d"),
        (500, b"\x8e"),
        (301, b"\x08\x03301"),
    ] {
        let mut block = Vec::new();
        Encoder::new().status(StatusCode::from_u16(status).unwrap(), &mut block);
        assert_eq!(block, expected);
    }
}

#[test]
fn a_shared_field_is_written_once_and_then_named_by_its_place() {
    let (vary, age) = (SharedField::new("vary", b"accept"), SharedField::new("age", b"1"));
    let mut encoder = Encoder::new();
    let mut written = |fields: &[&SharedField]| {
        let mut block = Vec::new();
        fields.iter().for_each(|field| encoder.shared(field, &mut block));
        block
    };
    assert_eq!(written(&[&vary]), literal_inserting("vary", b"accept"));
    assert_eq!(written(&[&vary]), [0xbe]);
    assert_eq!(written(&[&age, &vary, &age]), [&literal_inserting("age", b"1")[..], &[0xbf, 0xbe]].concat());
    // Equal text, but a different field.
    assert_eq!(written(&[&SharedField::new("age", b"1")]), literal_inserting("age", b"1"));
}

#[test]
fn a_prepared_head_is_its_shared_fields_and_its_own() {
    let vary = Arc::new(SharedField::new("vary", b"accept"));
    let head = PreparedHead::new([("etag", &b"\"1\""[..]), ("content-length", b"5")], vec![vary]);
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4_096));
    for _ in 0..2 {
        let mut block = Vec::new();
        encoder.prepared(&head, [], &mut block);
        let expected = pairs(&[("vary", "accept"), ("etag", "\"1\""), ("content-length", "5")]);
        assert_eq!(decode(&mut decoder, &block), Ok(expected));
    }
}

#[test]
fn a_field_beside_a_list_is_written_once_and_the_list_is_found_again_by_heads_with_another_one() {
    let list = Arc::new(SharedFields::new(Box::new([SharedField::new("vary", b"accept").into()])));
    let (one, other) = (Arc::new(SharedField::new("age", b"1")), Arc::new(SharedField::new("age", b"2")));
    let head = |beside: &Arc<SharedField>| {
        PreparedHead::with([("etag", &b"\"1\""[..])], Arc::clone(&list), Some(Arc::clone(beside)))
    };
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4_096));
    for (beside, age, indexed) in [(&one, "1", 0), (&one, "1", 2), (&other, "2", 1), (&other, "2", 2), (&one, "1", 2)] {
        let mut block = Vec::new();
        encoder.prepared(&head(beside), [], &mut block);
        assert_eq!(block.iter().take_while(|byte| **byte >= 0xbe).count(), indexed, "{age}");
        assert_eq!(decode(&mut decoder, &block), Ok(pairs(&[("vary", "accept"), ("age", age), ("etag", "\"1\"")])));
        assert_eq!(head(beside).lines().concat(), format!("etag: \"1\"\r\nvary: accept\r\nage: {age}\r\n").as_bytes());
    }
}

#[test]
fn a_field_that_takes_more_than_half_of_the_table_is_passed_by() {
    let mut encoder = Encoder::new();
    for (bytes, is_kept) in [(2_048, true), (2_049, false)] {
        let field = SharedField::new("x", &vec![b'v'; bytes - 33]);
        let mut block = Vec::new();
        encoder.shared(&field, &mut block);
        assert_eq!(block, if is_kept { &field.inserting[..] } else { &field.passing });
        assert_eq!(encoder.table_bytes(), 2_048);
    }
}

#[test]
fn the_peer_learns_the_smallest_and_the_last_size_of_its_table() {
    // §4.2.
    let updates = |sizes: &[u32]| {
        let mut encoder = Encoder::new();
        sizes.iter().for_each(|size| encoder.resize(*size));
        let mut block = Vec::new();
        encoder.begin(&mut block);
        let updates_bytes = block.len();
        encoder.begin(&mut block);
        assert_eq!(block.len(), updates_bytes, "written once");
        block
    };
    assert_eq!(updates(&[]), b"");
    assert_eq!(updates(&[4_096]), b"");
    assert_eq!(updates(&[65_536, u32::MAX]), b"", "we use no more than before");
    assert_eq!(updates(&[0]), b"\x20");
    assert_eq!(updates(&[30]), b"\x3e");
    assert_eq!(updates(&[31]), b"\x3f\x00");
    assert_eq!(updates(&[0, 4_096]), b"\x20\x3f\xe1\x1f");
    assert_eq!(updates(&[100, 10, 20]), b"\x2a\x34");
    assert_eq!(updates(&[20, 10]), b"\x2a");
    assert_eq!(updates(&[20, 70_000]), b"\x34\x3f\xe1\x1f");
}

#[test]
fn the_table_is_used_to_its_last_byte() {
    let fields = [b"1", b"2", b"3"].map(|value| SharedField::new("age", value));
    let mut encoder = Encoder::new();
    encoder.resize(72);
    for (field, table_bytes) in fields.iter().zip([36, 72, 72]) {
        encoder.shared(field, &mut Vec::new());
        assert_eq!(encoder.table_bytes(), table_bytes);
    }
}

#[test]
fn fields_go_from_the_table_as_it_shrinks() {
    let (vary, age) = (SharedField::new("vary", b"accept"), SharedField::new("age", b"1"));
    let mut encoder = Encoder::new();
    let mut block = Vec::new();
    encoder.shared(&vary, &mut block);
    encoder.shared(&age, &mut block);
    assert_eq!(encoder.table_bytes(), 42 + 36);
    encoder.resize(77);
    assert_eq!(encoder.table_bytes(), 36);
    block.clear();
    encoder.shared(&age, &mut block);
    assert_eq!(block, [0xbe]);
    encoder.resize(0);
    assert_eq!(encoder.table_bytes(), 0);
    block.clear();
    encoder.shared(&age, &mut block);
    assert_eq!(block, literal("age", b"1"));
}
