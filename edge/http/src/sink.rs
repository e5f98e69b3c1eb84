//! Where a connection's bytes go, in the order in which they are put.

use bytes::Bytes;

/// Takes what a connection sends in one turn.
pub trait Sink {
    /// Number of further bytes wanted in this turn. A frame that was begun is put whole, so a little more may come.
    fn room(&self) -> usize;

    /// Takes bytes, by copying them.
    fn put(&mut self, bytes: &[u8]);

    /// Takes bytes of a body, by reference.
    fn put_body(&mut self, bytes: Bytes);
}
