//! Our field sections (RFC 9204 §4.5): no state, since they refer to the static table alone.

use http::StatusCode;

use super::super::answer::{PreparedHead, SharedField};
use super::super::field_coding::{integer, string};
use super::static_table;

/// What comes before the fields (§4.5.1): no entry is required, and the base is 0.
const PREFIX: [u8; 2] = [0, 0];
/// A field of the static table (§4.5.2): the bits above its number, and those of the number.
const INDEXED: (u8, u8) = (0xc0, 0x3f);
/// The bits of the length of a value.
const VALUE_MASK: u8 = 0x7f;
/// The bits of the length of a name.
const NAME_MASK: u8 = 0x07;

/// Whether one that passes a field on may put it into a table (RFC 9204 §7.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Indexing {
    Allowed,
    Never,
}

impl Indexing {
    /// The bits above the number of a name (§4.5.4), and those of the number.
    const fn of_number(self) -> (u8, u8) {
        match self {
            Self::Allowed => (0x50, 0x0f),
            Self::Never => (0x70, 0x0f),
        }
    }

    /// The bits above the length of a name that is written out (§4.5.6).
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

/// Writes `:status`, which comes before all fields.
pub fn status(status: StatusCode, section: &mut Vec<u8>) {
    let text = status.as_str().as_bytes();
    if let Some(number) = static_table::number_of_whole(b":status", text) {
        return integer::put(number, INDEXED.0, INDEXED.1, section);
    }
    let (pattern, mask) = Indexing::Allowed.of_number();
    integer::put(static_table::number_of(b":status").unwrap_or_default(), pattern, mask, section);
    string::put_plain(text, 0, VALUE_MASK, section);
}

/// A field in as few bytes as it takes, for answers that are prepared. `name` is in lower case, and both are sound as a
/// field.
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

/// Writes a field that answers share.
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

/// Writes a field that was made for one answer. What may be a secret is marked as never to be kept by those that pass
/// it on (RFC 9204 §7.1.3). `name` is in lower case, and both are sound as a field.
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
