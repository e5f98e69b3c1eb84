//! Fields of a block in order, and the size of their list.

use super::{Class, DecodeError, entry_size};

/// Decoded field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'f> {
    /// Name; any bytes for [`Class::Malformed`].
    pub name: &'f [u8],
    /// Value; any bytes for [`Class::Malformed`].
    pub value: &'f [u8],
    /// Role in a request.
    pub class: Class,
}

/// Result of decoding a whole block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Size of the list in bytes, counted as in RFC 9113 §6.5.2. Fields are missing if the size exceeds the requested
    /// maximum.
    pub list_bytes: usize,
}

/// Field encoded as an index of one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// Encoded byte.
    pub byte: u8,
    /// Number that identifies the content of the tables.
    pub state: u64,
}

/// Fields already known to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Bytes of the block.
    pub bytes: usize,
    /// Size in the list (RFC 9113 §6.5.2).
    pub list_bytes: usize,
}

/// Receives the fields of a block.
pub trait Receiver {
    /// Receives the next field.
    fn field(&mut self, field: Field<'_>, numbered: Option<Numbered>);

    /// Recognises the encoded bytes at the beginning of `rest` from an earlier block, and takes their fields: a byte
    /// means the same in the same `state`.
    fn repeat(&mut self, _state: u64, _rest: &[u8]) -> Option<Known> {
        None
    }
}

impl<E: FnMut(Field<'_>)> Receiver for E {
    #[inline]
    fn field(&mut self, field: Field<'_>, _: Option<Numbered>) {
        self(field);
    }
}

/// Decoder of the blocks of one connection.
pub(in super::super) trait Decoder {
    /// Returns a number that identifies the content of the tables: no other content has the same number.
    fn state(&self) -> u64;

    /// Decodes a whole block and passes every field in order to `receiver`, until the list exceeds `list_bytes_max`;
    /// later fields are decoded but not passed on.
    ///
    /// # Errors
    /// Fails if the block is invalid. The decoder cannot be used afterwards.
    fn decode(&mut self, block: &[u8], list_bytes_max: usize, receiver: impl Receiver) -> Result<Decoded, DecodeError>;
}

/// Passes fields on while their list is within the limit.
pub(in super::super) struct List<E> {
    pub(in super::super) receiver: E,
    pub(in super::super) bytes: usize,
    pub(in super::super) bytes_max: usize,
}

impl<E: Receiver> List<E> {
    #[inline]
    pub(in super::super) fn give(&mut self, name: &[u8], value: &[u8], class: Class, numbered: Option<Numbered>) {
        self.bytes = self.bytes.saturating_add(entry_size(name.len(), value.len()));
        if self.bytes <= self.bytes_max {
            self.receiver.field(Field { name, value, class }, numbered);
        }
    }
}
