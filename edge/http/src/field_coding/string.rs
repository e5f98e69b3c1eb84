//! Strings of HPACK and QPACK (RFC 7541 §5.2, RFC 9204 §4.1.2): plain, or Huffman-coded.

use super::{huffman, integer};

/// Writes a string, Huffman-coded if shorter. The length has the bits of `mask`; the bit above marks the code, and
/// `pattern` is in the bits above the mark.
pub(in super::super) fn put_shortest(text: &[u8], pattern: u8, mask: u8, block: &mut Vec<u8>) {
    let coded_bytes = huffman::encoded_bytes(text);
    if coded_bytes < text.len() {
        integer::put(coded_bytes, pattern | (mask + 1), mask, block);
        huffman::encode(text, block);
    } else {
        put_plain(text, pattern, mask, block);
    }
}

/// Writes a plain string.
#[inline]
pub(in super::super) fn put_plain(text: &[u8], pattern: u8, mask: u8, block: &mut Vec<u8>) {
    integer::put(text.len(), pattern, mask, block);
    block.extend_from_slice(text);
}
