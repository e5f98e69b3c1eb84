//! Fields as HTTP/2 writes them (RFC 7541): the decoder of what a peer sends, the encoder of what is answered.
//!
//! * [`decoder`]: a peer's blocks, field by field, each with its [`Class`];
//! * [`encoder`]: our blocks; what answers of one connection have in common is named by its place in the table;
//! * [`class`]: what RFC 9113 §8 makes of a field, decided once for each that is written out;
//! * `table`: the dynamic table of a decoder; `static_table`: the one that every connection has;
//! * `integer`, [`huffman`]: the two ways to write numbers and strings.

pub mod class;
pub mod decoder;
pub mod encoder;
mod error;
pub mod huffman;
mod integer;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub use class::Class;
pub use decoder::{Decoded, Decoder, Field, Known, Numbered, Receiver};
pub use encoder::Encoder;
pub use error::DecodeError;

/// The size of a table until SETTINGS say another, in bytes as [`entry_size`] counts them (RFC 9113 §6.5.2).
pub const TABLE_BYTES_DEFAULT: usize = 4_096;

/// The size of an entry in a table, and of a field in a list (RFC 7541 §4.1, RFC 9113 §6.5.2).
#[must_use]
pub const fn entry_size(name_bytes: usize, value_bytes: usize) -> usize {
    // Both are in memory, so that the sum is a number.
    name_bytes + value_bytes + 32
}

/// A literal field without indexing (RFC 7541 §6.2.2); the name by its number where the static table has
/// it.
#[must_use]
pub fn literal(name: &str, value: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    encoder::put_literal(encoder::Indexing::Without, name, value, &mut block);
    block
}

/// A field, written so that it is in the table from now on (RFC 7541 §6.2.1).
#[must_use]
pub fn literal_inserting(name: &str, value: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    encoder::put_literal(encoder::Indexing::Incremental, name, value, &mut block);
    block
}
