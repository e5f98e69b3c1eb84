//! Errors of a block of fields.

/// Why a block cannot be read. The connection ends with `COMPRESSION_ERROR` (RFC 9113 §4.3), since the tables of both
/// ends may differ from there on, or with `QPACK_DECOMPRESSION_FAILED` (RFC 9204 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The block ends within a field (RFC 7541 §5).
    #[error("the block of fields ends within a field")]
    Truncated,
    /// A number is longer than any that could be meant (RFC 7541 §5.1, RFC 9204 §4.1.1).
    #[error("a number of the block of fields is too long")]
    Overflow,
    /// A field has the number 0 in HPACK, or one that no table has (RFC 7541 §2.3.3, §6.1, RFC 9204 §3.1).
    #[error("the block of fields names a field that there is not")]
    Index,
    /// A size is said for the table that is more than was announced (RFC 7541 §6.3).
    #[error("the block of fields asks for a larger table than there is")]
    TableSize,
    /// A size is said for the table after a field, or a third time (RFC 7541 §4.2).
    #[error("the block of fields changes the size of the table where it must not")]
    TableSizePlace,
    /// It refers to the dynamic table, of which the peer was given none (RFC 9204 §2.2, §4.5.1).
    #[error("the block of fields refers to a table that there is not")]
    DynamicTable,
    /// A string is not what its code allows (RFC 7541 §5.2).
    #[error("a string of the block of fields is not in the Huffman code")]
    Huffman,
}
