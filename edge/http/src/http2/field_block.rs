//! Field block in several frames (RFC 9113 §4.3).

use std::time::Instant;

/// Incomplete field block (§4.3).
#[derive(Debug)]
pub(super) struct FieldBlock {
    /// Arrival time of the first frame.
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
