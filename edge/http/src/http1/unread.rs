//! Received bytes without an answer.

/// Bytes of a head that has begun up to which each further byte is looked at; beyond, each further line.
const LOOK_BYTES_MAX: usize = 1_024;

/// Received bytes without an answer. No memory is held while empty.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: Vec<u8>,
    /// Start of the unanswered bytes; earlier bytes were answered.
    start: usize,
    /// Number of bytes known to be an incomplete head.
    looked_at: usize,
}

impl Unread {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        drop(self.bytes.drain(..self.start));
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Skips bytes at the beginning.
    pub(super) fn advance(&mut self, count: usize) {
        self.start += count;
        self.looked_at = 0;
        if self.start >= self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Marks the first `count` bytes as an incomplete head.
    pub(super) fn are_partial(&mut self, count: usize) {
        self.looked_at = count;
    }

    /// Whether there may be more at the beginning than at the last look. What comes byte by byte is not read from its
    /// beginning for each of them. A head has at most `head_bytes_max` bytes.
    pub(super) fn is_worth_a_look(&self, head_bytes_max: usize) -> bool {
        let new = self.bytes.get(self.start + self.looked_at..).unwrap_or_default();
        let is_short = self.len() < LOOK_BYTES_MAX;
        !new.is_empty() && (is_short || self.len() >= head_bytes_max || new.contains(&b'\n'))
    }

    /// Takes all bytes.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let Self { mut bytes, start, .. } = std::mem::take(self);
        drop(bytes.drain(..start));
        bytes
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}
