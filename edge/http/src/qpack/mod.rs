//! Field coding of HTTP/3 (RFC 9204) without the dynamic table: the static table, and literals.
//!
//! This end announces a table of 0 bytes and no blocked streams (§5), and does not use the peer's table. So a field
//! section means the same at any time, and a prepared answer is encoded once for all connections.
//!
//! * [`decoder`]: the peer's field sections, field by field, each with a class;
//! * [`encoder`]: this end's field sections;
//! * [`instructions`]: permitted content of the peer's encoder and decoder streams while no table is used;
//! * `static_table`: the fields of Appendix A.
//!
//! Numbers, strings and field classes are shared with HPACK: [`super::field_coding`].

pub mod decoder;
pub mod encoder;
pub mod instructions;
mod static_table;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use encoder::{field, literal, prepared, shared, start, status};
pub use instructions::{DecoderStream, EncoderStream, Refused};
