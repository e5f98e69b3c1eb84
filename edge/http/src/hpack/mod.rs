//! Field coding of HTTP/2 (RFC 7541): the decoder for requests, and the encoder for answers.
//!
//! * [`decoder`]: the peer's blocks, field by field, each with a class;
//! * [`encoder`]: this end's blocks; repeated fields are indexes into the dynamic table;
//! * `table`: the dynamic table of a decoder; `static_table`: the static table.
//!
//! Numbers, strings and field classes are shared with QPACK: [`super::field_coding`].

pub mod decoder;
pub mod encoder;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use encoder::Encoder;

/// Table size before SETTINGS change it, in bytes as counted by [`super::field_coding::entry_size`] (RFC 9113 §6.5.2).
pub const TABLE_BYTES_DEFAULT: usize = 4_096;

/// Returns a literal field without indexing (RFC 7541 §6.2.2); the name is an index if the static table has the name.
#[must_use]
pub fn literal(name: &str, value: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    encoder::put_literal(encoder::Indexing::Without, name, value, &mut block);
    block
}

/// Returns a literal field with insertion into the table (RFC 7541 §6.2.1).
#[must_use]
pub fn literal_inserting(name: &str, value: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    encoder::put_literal(encoder::Indexing::Incremental, name, value, &mut block);
    block
}
