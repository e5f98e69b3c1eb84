//! A field block that comes in several frames (RFC 9113 §4.3).

use std::time::Instant;

/// A field block whose end has not come (§4.3).
#[derive(Debug)]
pub(super) struct FieldBlock {
    /// When its first frame came.
    pub(super) since: Instant,
    pub(super) stream: u32,
    pub(super) ends_stream: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: usize,
}

impl FieldBlock {
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity() + size_of::<Self>()
    }
}
