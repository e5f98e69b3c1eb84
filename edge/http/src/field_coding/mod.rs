//! Code shared by HPACK and QPACK (RFC 7541 §5, RFC 9204 §4.1): numbers, strings, and classes of fields.
//!
//! * `integer`: numbers, and the reader of a block's bytes; `string`, [`huffman`]: plain and Huffman-coded strings;
//! * [`class`]: the role of a field in a request, determined once per literal field;
//! * `list`: decoded fields of a block, and the size of their list;
//! * `error`: errors of unreadable blocks.

pub mod class;
mod error;
pub mod huffman;
pub(super) mod integer;
pub(super) mod list;
pub(super) mod string;

pub use class::Class;
pub use error::DecodeError;
pub(super) use list::Decoder;
pub use list::{Decoded, Field, Known, Numbered, Receiver};

/// Returns the size of a field in a list, and of an entry in a table (RFC 7541 §4.1, RFC 9113 §6.5.2, RFC 9114 §4.2.2).
#[must_use]
pub const fn entry_size(name_bytes: usize, value_bytes: usize) -> usize {
    // Both strings are in memory, so the sum does not overflow.
    name_bytes + value_bytes + 32
}
