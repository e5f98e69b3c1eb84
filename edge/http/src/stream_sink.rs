//! Where the bytes of a connection of HTTP/3 go: each on its stream.

use bytes::Bytes;

/// Takes what a connection does to its streams in one turn. Streams have the numbers of QUIC (RFC 9000 §2.1).
pub trait StreamSink {
    /// Number of further bytes wanted in this turn. A little more may come.
    fn room(&self) -> usize;

    /// Takes bytes of a stream, by reference, in their order: as many as the peer's windows and the buffers of the
    /// transport have room for. What it did not take is left in `parts`; once it takes more, the connection is to hear
    /// of it.
    fn write(&mut self, stream: u64, parts: &mut [Bytes]);

    /// Says that all bytes of a stream were written.
    fn finish(&mut self, stream: u64);

    /// Abandons the sending of a stream (RFC 9000 §3.5). Of a stream that has ended this is of no effect.
    fn reset(&mut self, stream: u64, code: u64);

    /// Asks the peer to stop sending on a stream, nothing of which is received any more (RFC 9000 §3.5). Of a stream
    /// that has ended this is of no effect.
    fn stop(&mut self, stream: u64, code: u64);

    /// Says that the connection takes more bytes of a stream, for which it had no room.
    fn resume(&mut self, stream: u64);
}
