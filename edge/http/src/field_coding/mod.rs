//! What HPACK and QPACK have in common (RFC 7541 §5, RFC 9204 §4.1): numbers, strings, and what is known of a field.
//!
//! * `integer`: numbers, and the reader of a block's bytes; `string`, [`huffman`]: strings, plain and in the code;
//! * [`class`]: the role of a field in a request, decided once for each that is written out;
//! * `list`: the fields of a block as they are decoded, and the size of their list;
//! * `error`: why a block cannot be read.

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

/// The size of a field in a list, and of an entry in a table (RFC 7541 §4.1, RFC 9113 §6.5.2, RFC 9114 §4.2.2).
#[must_use]
pub const fn entry_size(name_bytes: usize, value_bytes: usize) -> usize {
    // Both are in memory, so that the sum is a number.
    name_bytes + value_bytes + 32
}
