//! The fields of a block, one after the other, and the size of their list.

use super::{Class, DecodeError, entry_size};

/// A field as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'f> {
    /// The name. If [`Class::Malformed`], any bytes.
    pub name: &'f [u8],
    /// The value. If [`Class::Malformed`], any bytes.
    pub value: &'f [u8],
    /// Its role in a request.
    pub class: Class,
}

/// A block that was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// The size of the list as RFC 9113 §6.5.2 counts it, in bytes. If it is more than was asked for, fields are
    /// missing.
    pub list_bytes: usize,
}

/// A field that came as a number of one byte, where it is known by what the byte stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// The byte.
    pub byte: u8,
    /// A number for the content of the tables, which no other content has.
    pub state: u64,
}

/// Fields that a receiver has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Bytes of the block that they take.
    pub bytes: usize,
    /// Their size in the list (RFC 9113 §6.5.2).
    pub list_bytes: usize,
}

/// Takes the fields of a block.
pub trait Receiver {
    /// Takes the next field.
    fn field(&mut self, field: Field<'_>, numbered: Option<Numbered>);

    /// Takes the next fields by the bytes that stand for them with which `rest` begins, if it knows them from a block
    /// before: a byte means the same in the same `state`.
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

/// Decodes the blocks of one connection.
pub(in super::super) trait Decoder {
    /// A number for the content of the tables that blocks refer to, which no other content ever has.
    fn state(&self) -> u64;

    /// Reads a whole block, and gives every field in order to `receiver`, until their list takes more than
    /// `list_bytes_max`; those beyond are still read.
    ///
    /// # Errors
    /// If the block is not sound. The decoder is of no use any more.
    fn decode(&mut self, block: &[u8], list_bytes_max: usize, receiver: impl Receiver) -> Result<Decoded, DecodeError>;
}

/// Gives fields on, as long as their list is not too large.
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
