//! Encoder of this end's field sections (RFC 9204 §4.5), stateless, since only the static table is used.

use http::StatusCode;

use super::super::answer::{PreparedHead, SharedField};
use super::super::field_coding::{integer, string};
use super::static_table;

/// Prefix of a section (§4.5.1): no required entry, and base 0.
const PREFIX: [u8; 2] = [0, 0];
/// Indexed field of the static table (§4.5.2): pattern and mask.
const INDEXED: (u8, u8) = (0xc0, 0x3f);
/// Mask of the length of a value.
const VALUE_MASK: u8 = 0x7f;
/// Mask of the length of a name.
const NAME_MASK: u8 = 0x07;

/// Permission for intermediaries to insert a field into a table (RFC 9204 §7.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Indexing {
    Allowed,
    Never,
}

impl Indexing {
    /// Returns the pattern above a name's index (§4.5.4), and the mask of the index.
    const fn of_number(self) -> (u8, u8) {
        match self {
            Self::Allowed => (0x50, 0x0f),
            Self::Never => (0x70, 0x0f),
        }
    }

    /// Returns the pattern above the length of a literal name (§4.5.6).
    const fn of_name(self) -> u8 {
        match self {
            Self::Allowed => 0x20,
            Self::Never => 0x30,
        }
    }
}

/// Begins a field section.
pub fn start(section: &mut Vec<u8>) {
    section.extend_from_slice(&PREFIX);
}

/// Writes `:status`, which precedes all fields.
pub fn status(status: StatusCode, section: &mut Vec<u8>) {
    let text = status.as_str().as_bytes();
    if let Some(number) = static_table::number_of_whole(b":status", text) {
        return integer::put(number, INDEXED.0, INDEXED.1, section);
    }
    let (pattern, mask) = Indexing::Allowed.of_number();
    integer::put(static_table::number_of(b":status").unwrap_or_default(), pattern, mask, section);
    string::put_plain(text, 0, VALUE_MASK, section);
}

/// Returns a field in the fewest bytes, for prepared answers. `name` is in lower case, and both arguments are valid in
/// a field.
#[must_use]
pub fn literal(name: &str, value: &[u8]) -> Vec<u8> {
    let mut section = Vec::new();
    if let Some(number) = static_table::number_of_whole(name.as_bytes(), value) {
        integer::put(number, INDEXED.0, INDEXED.1, &mut section);
        return section;
    }
    if let Some(number) = static_table::number_of(name.as_bytes()) {
        let (pattern, mask) = Indexing::Allowed.of_number();
        integer::put(number, pattern, mask, &mut section);
    } else {
        string::put_shortest(name.as_bytes(), Indexing::Allowed.of_name(), NAME_MASK, &mut section);
    }
    string::put_shortest(value, 0, VALUE_MASK, &mut section);
    section
}

/// Writes a shared field.
pub fn shared(field: &SharedField, section: &mut Vec<u8>) {
    section.extend_from_slice(&field.qpack);
}

/// Writes the fields of a prepared head, and `more`.
pub fn prepared<'f>(head: &PreparedHead, more: impl IntoIterator<Item = &'f SharedField>, section: &mut Vec<u8>) {
    for fields in head.sections() {
        section.extend_from_slice(fields);
    }
    for field in more {
        shared(field, section);
    }
}

/// Writes a field made for one answer. A possible secret is marked as never indexed by intermediaries (RFC 9204
/// §7.1.3). `name` is in lower case, and both arguments are valid in a field.
pub fn field(name: &str, value: &[u8], section: &mut Vec<u8>) {
    if let Some(number) = static_table::number_of_whole(name.as_bytes(), value) {
        return integer::put(number, INDEXED.0, INDEXED.1, section);
    }
    let indexing = match name {
        "set-cookie" | "cookie" | "authorization" | "proxy-authorization" => Indexing::Never,
        _ => Indexing::Allowed,
    };
    if let Some(number) = static_table::number_of(name.as_bytes()) {
        let (pattern, mask) = indexing.of_number();
        integer::put(number, pattern, mask, section);
    } else {
        string::put_plain(name.as_bytes(), indexing.of_name(), NAME_MASK, section);
    }
    string::put_plain(value, 0, VALUE_MASK, section);
}
