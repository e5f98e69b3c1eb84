//! Field blocks as decoded by a server: RFC 7541 sections 2.3 to 6.3.

use crate::http2::fields::{coded_string, huffman, indexed, indexed_literal, integer, literal, string, table_size};
use crate::http2::table::*;
use crate::http2::wire::{HOST, Script, flag};
use crate::http2::world::World;

/// Request without `:authority`, made of static table entries.
fn known() -> Vec<u8> {
    [indexed(2), indexed(7), indexed(4)].concat()
}

/// Complete GET request, followed by `more`.
fn get(more: impl AsRef<[u8]>) -> Vec<u8> {
    [&known(), &literal(":authority", HOST), more.as_ref()].concat()
}

fn one(s: Script, block: impl AsRef<[u8]>) -> Script {
    s.headers(1, flag::WHOLE, block)
}

fn two(s: Script, first: impl AsRef<[u8]>, second: impl AsRef<[u8]>) -> Script {
    s.headers(1, flag::WHOLE, first).headers(3, flag::WHOLE, second)
}

/// Field whose value is a Huffman string of the given bytes.
fn coded(bytes: &[u8]) -> Vec<u8> {
    [vec![0], string("x"), coded_string(bytes)].concat()
}

pub(crate) fn cases() -> Vec<Case> {
    [tables(), sizes(), primitives(), representations()].into_iter().flatten().collect()
}

fn tables() -> Vec<Case> {
    vec![
        case(
            "RFC 7541 2.3.3",
            "index 0 is COMPRESSION_ERROR",
            |s| one(s, get(indexed(0))),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 2.3.3",
            "an index beyond an empty table is COMPRESSION_ERROR",
            |s| one(s, get(indexed(62))),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 2.3.3",
            "an index beyond the entries of the table is COMPRESSION_ERROR",
            |s| two(s, get(indexed_literal("x", "y")), get(indexed(63))),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 2.3.3",
            "the index of a name beyond the table is COMPRESSION_ERROR",
            |s| one(s, get([integer(0x40, 6, 70), string("y")].concat())),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 2.3.2",
            "an entry of one request is there for the next",
            |s| two(s, [known(), indexed_literal(":authority", HOST)].concat(), [known(), indexed(62)].concat()),
            status(200),
        ),
        case(
            "RFC 7541 2.3.2",
            "the newest entry has the lowest index",
            |s| {
                let first = [known(), indexed_literal(":authority", HOST), indexed_literal("x", "y")].concat();
                two(s, first, [known(), indexed(63), indexed(62)].concat())
            },
            status(200),
        ),
        case(
            "RFC 7541 2.3.2",
            "an entry may be there twice",
            |s| {
                let first = [
                    known(),
                    indexed_literal(":authority", HOST),
                    indexed_literal("x", "y"),
                    indexed_literal("x", "y"),
                ];
                two(s, first.concat(), [known(), indexed(64), indexed(62), indexed(63)].concat())
            },
            status(200),
        ),
        case(
            "RFC 7541 2.3.2",
            "an entry is there within the block that puts it in",
            |s| one(s, get([indexed_literal("x", "y"), indexed(62), indexed(62)].concat())),
            status(200),
        ),
    ]
}

fn sizes() -> Vec<Case> {
    vec![
        case(
            "RFC 7541 4.2",
            "a size beyond SETTINGS_HEADER_TABLE_SIZE is COMPRESSION_ERROR",
            |s| one(s, [table_size(4_097), get([])].concat()),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 4.2",
            "a size of SETTINGS_HEADER_TABLE_SIZE is taken",
            |s| one(s, [table_size(4_096), get([])].concat()),
            status(200),
        ),
        case(
            "RFC 7541 4.2",
            "two changes of the size at the beginning are taken",
            |s| one(s, [table_size(0), table_size(4_096), get([])].concat()),
            status(200),
        ),
        case(
            "RFC 7541 4.2",
            "a change of the size after a field is COMPRESSION_ERROR",
            |s| one(s, get(table_size(0))),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 4.2",
            "a change of the size after a field in CONTINUATION is COMPRESSION_ERROR",
            |s| s.headers(1, flag::END_STREAM, get([])).continuation(1, flag::END_HEADERS, table_size(0)).watch(0),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 4.3",
            "a size of 0 empties the table",
            |s| two(s, get(indexed_literal("x", "y")), [table_size(0), table_size(4_096), get(indexed(62))].concat()),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 4.3",
            "a smaller size evicts the oldest entries alone",
            |s| {
                // 34 bytes each: two of the three fit.
                let three = [indexed_literal("a", "1"), indexed_literal("b", "2"), indexed_literal("c", "3")].concat();
                two(s, get(three), [table_size(70), get([indexed(62), indexed(63)].concat())].concat())
            },
            status(200),
        ),
        case(
            "RFC 7541 4.3",
            "what a smaller size evicts is gone",
            |s| {
                let three = [indexed_literal("a", "1"), indexed_literal("b", "2"), indexed_literal("c", "3")].concat();
                two(s, get(three), [table_size(70), get(indexed(64))].concat())
            },
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 4.4",
            "a new entry evicts the oldest",
            |s| {
                let half = "v".repeat(2_000);
                let three =
                    [indexed_literal("a", &half), indexed_literal("b", &half), indexed_literal("c", &half)].concat();
                two(s, get(three), get(indexed(64)))
            },
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 4.4",
            "an entry larger than the table empties it, and is no error",
            |s| two(s, get([indexed_literal("a", "1"), indexed_literal("b", &"v".repeat(4_100))].concat()), get([])),
            status(200),
        ),
        case(
            "RFC 7541 4.4",
            "after an entry larger than the table, nothing is in it",
            |s| {
                two(
                    s,
                    get([indexed_literal("a", "1"), indexed_literal("b", &"v".repeat(4_100))].concat()),
                    get(indexed(62)),
                )
            },
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 4.4",
            "a new entry may take its name from one that it evicts",
            |s| {
                let name = [integer(0x40, 6, 62), string("v".repeat(4_000))].concat();
                two(s, get(indexed_literal("long-name", &"v".repeat(2_500))), get([name, indexed(62)].concat()))
            },
            status(200),
        ),
    ]
}

fn primitives() -> Vec<Case> {
    let broken = || connection_error(COMPRESSION_ERROR);
    vec![
        case("RFC 7541 5.1", "an integer that never ends is COMPRESSION_ERROR", |s| one(s, get([0xff; 20])), broken()),
        case(
            "RFC 7541 5.1",
            "an integer beyond 32 bits is COMPRESSION_ERROR",
            |s| one(s, get([0xff, 0x80, 0xff, 0xff, 0xff, 0xff, 0x0f])),
            broken(),
        ),
        case(
            "RFC 7541 5.1",
            "an integer that would come round to a small one is COMPRESSION_ERROR",
            |s| {
                // 127 + 2^64 - 125 is 2 in 64 bits.
                one(s, get([0xff, 0x83, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]))
            },
            broken(),
        ),
        case(
            "RFC 7541 5.1",
            "an integer without its end is COMPRESSION_ERROR",
            |s| one(s, get([0xff, 0x80])),
            broken(),
        ),
        case(
            "RFC 7541 5.1",
            "an integer in more bytes than it needs is taken, or too long",
            |s| {
                let length = [0x7f, 0x80, 0x80, 0x00];
                one(s, get([&[0, 1, b'x'][..], &length, &[b'v'; 127]].concat()))
            },
            or(broken(), [Outcome::Answer(200)]),
        ),
        case(
            "RFC 7541 5.2",
            "a string longer than its block is COMPRESSION_ERROR",
            |s| one(s, get([&[0, 1, b'x', 0x7f, 0x10][..], b"short"].concat())),
            broken(),
        ),
        case(
            "RFC 7541 5.2",
            "a name longer than its block is COMPRESSION_ERROR",
            |s| one(s, get([0, 9, b'x'])),
            broken(),
        ),
        case(
            "RFC 7541 5.2",
            "a string of 4 GB is COMPRESSION_ERROR before it has come",
            |s| one(s, get([0, 1, b'x', 0x7f, 0x80, 0xff, 0xff, 0xff, 0x0f])),
            broken(),
        ),
        case(
            "RFC 7541 5.2",
            "Huffman strings are taken",
            |s| {
                let authority = [integer(0, 4, 1), coded_string(&huffman(HOST.as_bytes()))].concat();
                let path = [integer(0, 4, 4), coded_string(&huffman(b"/index.html?q=~^|"))].concat();
                one(s, [indexed(2), indexed(7), authority, path].concat())
            },
            or(status(200), [Outcome::Answer(307)]),
        ),
        case(
            "RFC 7541 5.2",
            "a Huffman string is what it stands for",
            |s| {
                let authority = [integer(0, 4, 1), coded_string(&huffman(b"nobody.localhost"))].concat();
                one(s, [known(), authority].concat())
            },
            or(status(421), [Outcome::Answer(404)]),
        ),
        case(
            "RFC 7541 5.2",
            "padding of 7 bits is taken",
            |s| {
                // "0" has 5 bits, "00000" 25: the padding is 7 bits.
                one(s, get(coded(&huffman(b"00000"))))
            },
            status(200),
        ),
        case(
            "RFC 7541 5.2",
            "padding of 8 bits is COMPRESSION_ERROR",
            |s| one(s, get(coded(&[huffman(b"00000000"), vec![0xff]].concat()))),
            broken(),
        ),
        case(
            "RFC 7541 5.2",
            "padding that is not the beginning of EOS is COMPRESSION_ERROR",
            |s| one(s, get(coded(&[0b0001_1000]))),
            broken(),
        ),
        case(
            "RFC 7541 5.2",
            "EOS in a Huffman string is COMPRESSION_ERROR",
            |s| one(s, get(coded(&[0xff, 0xff, 0xff, 0xff]))),
            broken(),
        ),
        case(
            "RFC 7541 5.2",
            "EOS within a Huffman string is COMPRESSION_ERROR",
            |s| {
                // "a", EOS, and the padding.
                one(s, get(coded(&[0b0001_1111, 0xff, 0xff, 0xff, 0b1110_0111])))
            },
            broken(),
        ),
        case("RFC 7541 5.2", "an empty Huffman string is an empty string", |s| one(s, get(coded(&[]))), status(200)),
    ]
}

fn representations() -> Vec<Case> {
    vec![
        case(
            "RFC 7541 6.1",
            "fields of the static table are taken by index",
            |s| {
                // accept-encoding: gzip, deflate
                one(s, get(indexed(16)))
            },
            status(200),
        ),
        case(
            "RFC 7541 6.1",
            "an entry of the static table that is no field of a request is malformed, not undecodable",
            |s| one(s, get(indexed(8))),
            malformed(),
        ),
        case(
            "RFC 7541 6.2.1",
            "a literal with indexing may take its name from the static table",
            |s| {
                let authority = [integer(0x40, 6, 1), string(HOST)].concat();
                two(s, [known(), authority].concat(), [known(), indexed(62)].concat())
            },
            status(200),
        ),
        case(
            "RFC 7541 6.2.1",
            "a literal with indexing may take its name from the dynamic table",
            |s| {
                let other = [integer(0x40, 6, 62), string(HOST)].concat();
                two(s, get(indexed_literal("x-name", "1")), get(other))
            },
            status(200),
        ),
        case(
            "RFC 7541 6.2.2",
            "a literal without indexing stays out of the table",
            |s| two(s, get(literal("x", "y")), get(indexed(62))),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 6.2.3",
            "a literal that is never indexed is a field like any other",
            |s| {
                let authority = [integer(0x10, 4, 1), string(HOST)].concat();
                one(s, [known(), authority, vec![0x10], string("x"), string("y")].concat())
            },
            status(200),
        ),
        case(
            "RFC 7541 6.2.3",
            "a literal that is never indexed stays out of the table",
            |s| two(s, get([vec![0x10], string("x"), string("y")].concat()), get(indexed(62))),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "RFC 7541 6.3",
            "a block that only changes the size is one without fields",
            |s| one(s, table_size(0)),
            malformed(),
        ),
        talk(
            "RFC 7541 6.3",
            "the table is one for all streams of a connection, and another for each connection",
            talking!(|c, w| {
                c.send(&Script::default().headers(
                    1,
                    flag::WHOLE,
                    [known(), indexed_literal(":authority", HOST)].concat(),
                ))
                .await;
                assert_eq!(c.answer(1).await.status, 200);
                let mut other = w.connect().await;
                other.send(&Script::preface().headers(1, flag::WHOLE, [known(), indexed(62)].concat())).await;
                assert!(matches!(other.verdict(0, true).await, Outcome::GoAway(_)));
                c.send(&Script::default().headers(3, flag::WHOLE, [known(), indexed(62)].concat())).await;
                assert_eq!(c.answer(3).await.status, 200);
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}
