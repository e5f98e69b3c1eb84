//! Fields as HTTP/3 writes them (RFC 9204), without the dynamic table: the static table, and literals.
//!
//! This end announces a table of no bytes and no blocked streams (§5), and uses none of the peer's: so a field section
//! means the same whenever it comes, and what is prepared for an answer is prepared once for all connections.
//!
//! * [`decoder`]: a peer's field sections, field by field, each with its class;
//! * [`encoder`]: our field sections;
//! * [`instructions`]: what may come on the peer's encoder and decoder streams while no table is used;
//! * `static_table`: the fields of Appendix A.
//!
//! Numbers, strings and the classes of fields are those of HPACK too: [`super::field_coding`].

pub mod decoder;
pub mod encoder;
pub mod instructions;
mod static_table;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use encoder::{field, literal, prepared, shared, start, status};
pub use instructions::{DecoderStream, EncoderStream, Refused};
