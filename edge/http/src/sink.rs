//! Output of a connection, in order.

use bytes::Bytes;

/// Takes the bytes that a connection sends in one turn.
pub trait Sink {
    /// Returns the number of further bytes wanted in this turn. A begun frame is written whole, so slightly more may
    /// come.
    fn room(&self) -> usize;

    /// Copies bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Takes bytes of a body by reference.
    fn put_body(&mut self, bytes: Bytes);
}
