//! Errors of a field block.

/// Error of an unreadable block. The connection ends with `COMPRESSION_ERROR` (RFC 9113 §4.3), since the tables of both
/// ends may differ afterwards, or with `QPACK_DECOMPRESSION_FAILED` (RFC 9204 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The block ends within a field (RFC 7541 §5).
    #[error("the block of fields ends within a field")]
    Truncated,
    /// A number is longer than any valid number (RFC 7541 §5.1, RFC 9204 §4.1.1).
    #[error("a number of the block of fields is too long")]
    Overflow,
    /// A field has index 0 in HPACK, or an index beyond all tables (RFC 7541 §2.3.3, §6.1, RFC 9204 §3.1).
    #[error("the block of fields names a field that there is not")]
    Index,
    /// A table size update exceeds the announced size (RFC 7541 §6.3).
    #[error("the block of fields asks for a larger table than there is")]
    TableSize,
    /// A table size update follows a field, or is the third (RFC 7541 §4.2).
    #[error("the block of fields changes the size of the table where it must not")]
    TableSizePlace,
    /// The block refers to the dynamic table, which was not granted to the peer (RFC 9204 §2.2, §4.5.1).
    #[error("the block of fields refers to a table that there is not")]
    DynamicTable,
    /// A string violates the Huffman code (RFC 7541 §5.2).
    #[error("a string of the block of fields is not in the Huffman code")]
    Huffman,
}
