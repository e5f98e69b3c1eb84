//! Fields as HTTP/2 writes them (RFC 7541): the decoder of what a peer sends, the encoder of what is answered.
//!
//! * [`decoder`]: a peer's blocks, field by field, each with its class;
//! * [`encoder`]: our blocks; what answers of one connection have in common is named by its place in the table;
//! * `table`: the dynamic table of a decoder; `static_table`: the one that every connection has.
//!
//! Numbers, strings and the classes of fields are those of QPACK too: [`super::field_coding`].

pub mod decoder;
pub mod encoder;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use encoder::Encoder;

/// The size of a table until SETTINGS say another, in bytes as [`super::field_coding::entry_size`] counts them
/// (RFC 9113 §6.5.2).
pub const TABLE_BYTES_DEFAULT: usize = 4_096;

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
