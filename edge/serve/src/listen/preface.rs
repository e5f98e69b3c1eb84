//! The first frame of a client of HTTP/2: SETTINGS, and no other (RFC 9113 section 3.4), which h2 does not look at.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::write_through::write_through;

/// Where the first frame begins: after the text that h2 compares itself.
const FRAME_AT: usize = 24;
/// Where its head ends: three bytes of length, its type, its flags, four bytes of its stream.
const FRAME_HEAD_END: usize = FRAME_AT + 9;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

/// A stream that fails when its first frame is another.
#[derive(Debug)]
pub(crate) struct Prefaced<T> {
    io: T,
    /// Bytes that came so far, up to the end of the first frame's head.
    read: usize,
}

impl<T> Prefaced<T> {
    pub(crate) const fn new(io: T) -> Self {
        Self { io, read: 0 }
    }

    /// Looks at bytes that came. Whether they may be the beginning of a connection.
    fn admits(&mut self, bytes: &[u8]) -> bool {
        let count = bytes.len().min(FRAME_HEAD_END - self.read);
        let admitted = bytes.iter().take(count).zip(self.read..).all(|(&byte, at)| match at - FRAME_AT.min(at) {
            3 => byte == SETTINGS,
            4 => byte & ACK == 0,
            _ => true,
        });
        self.read += count;
        admitted
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefaced<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if self.read < FRAME_HEAD_END && !self.admits(buffer.filled().get(before..).unwrap_or_default()) {
            // The connection ends; in place of a preface, GOAWAY may be left out.
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the first frame is not SETTINGS")));
        }
        Poll::Ready(Ok(()))
    }
}

write_through!(Prefaced);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_is_settings_however_its_bytes_come() {
        let text = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for (frame, expected) in [
            ([0, 0, 0, 4, 0, 0, 0, 0, 0], true),
            // Flags without a meaning.
            ([0, 0, 6, 4, 0xfe, 0, 0, 0, 0], true),
            ([0, 0, 0, 4, 1, 0, 0, 0, 0], false),
            ([0, 0, 8, 6, 0, 0, 0, 0, 0], false),
            ([0, 0, 9, 1, 5, 0, 0, 0, 1], false),
        ] {
            // What follows is not looked at.
            let bytes = [&text[..], &frame, &[0, 0, 0, 6, 1]].concat();
            for part in [1, 7, 24, 27, 28, bytes.len()] {
                let mut stream = Prefaced::new(());
                let parts: Vec<bool> = bytes.chunks(part).map(|part| stream.admits(part)).collect();
                assert_eq!(parts.iter().all(|admitted| *admitted), expected, "{frame:?} by {part}");
            }
        }
    }
}
