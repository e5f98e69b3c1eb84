//! Output of an HTTP/3 connection, by stream.

use bytes::Bytes;

/// Takes the stream operations of a connection in one turn. Stream numbers are numbers of QUIC (RFC 9000 §2.1).
pub trait StreamSink {
    /// Returns the number of further bytes wanted in this turn. Slightly more may come.
    fn room(&self) -> usize;

    /// Takes bytes of a stream by reference and in order, as many as the peer's windows and the transport's buffers
    /// have room for. The untaken rest stays in `parts`; once the sink has room again, the driver must call
    /// [`super::http3::Connection::writable`].
    fn write(&mut self, stream: u64, parts: &mut [Bytes]);

    /// Marks the stream as completely written.
    fn finish(&mut self, stream: u64);

    /// Abandons the sending side of a stream (RFC 9000 §3.5). No effect on an ended stream.
    fn reset(&mut self, stream: u64, code: u64);

    /// Asks the peer to stop sending on a stream, of which no more bytes are received (RFC 9000 §3.5). No effect on an
    /// ended stream.
    fn stop(&mut self, stream: u64, code: u64);

    /// Reports that the connection again takes bytes of a stream that had no room before.
    fn resume(&mut self, stream: u64);
}
