//! The unwritten part of a request: its head, and the framed pieces of its body.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::header::HeaderMap;
use http_body::Frame;
use tokio::io::AsyncWrite;

use super::codec::{Fault, write_fields};
use super::request_sender::BodyFraming;

/// Pieces up to this length are copied behind the head: a vectored write costs more.
const COPIED_BYTES_MAX: usize = 4 * 1024;
/// Number of unwritten bytes at which no more of the body is polled.
const HELD_BYTES_MAX: usize = 64 * 1024;
/// Maximum number of pieces per write.
const SLICES_MAX: usize = 16;

/// The framing of a request body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Framing {
    Chunked,
    /// Number of bytes left.
    Known(u64),
    /// The end is written.
    Over,
}

/// The unwritten bytes, in order: `flat` without its first `written` bytes, then the pieces.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) flat: Vec<u8>,
    written: usize,
    pieces: VecDeque<Bytes>,
    /// Total bytes of the pieces.
    bytes: usize,
}

impl Output {
    pub(crate) fn is_empty(&self) -> bool {
        self.flat.len() == self.written && self.pieces.is_empty()
    }

    /// Returns true if more of the body should be polled.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < HELD_BYTES_MAX && self.flat.len() < HELD_BYTES_MAX && self.pieces.len() < SLICES_MAX
    }

    /// Appends a piece without framing.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        if self.pieces.is_empty() && piece.len() <= COPIED_BYTES_MAX {
            self.flat.extend_from_slice(&piece);
        } else {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Appends a frame of the body.
    ///
    /// # Errors
    /// The body is longer than its declared length.
    fn frame(&mut self, framing: &mut Framing, frame: Frame<Bytes>) -> Result<(), Fault> {
        match (frame.into_data(), framing) {
            // An empty chunk would end the body.
            (Ok(data), Framing::Chunked) if data.is_empty() => {}
            (Ok(data), Framing::Chunked) => {
                let mut line = String::with_capacity(18);
                // Writes to a string cannot fail.
                write!(line, "{:x}\r\n", data.len()).unwrap_or_default();
                self.push(line.into());
                self.push(data);
                self.push(Bytes::from_static(b"\r\n"));
            }
            (Ok(data), Framing::Known(left)) => {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                *left = left.checked_sub(length).ok_or(Fault::Request)?;
                self.push(data);
            }
            (Ok(_), Framing::Over) => return Err(Fault::Request),
            (Err(_), Framing::Known(_) | Framing::Over) => {}
            (Err(frame), framing @ Framing::Chunked) => {
                self.last(frame.into_trailers().ok().as_ref());
                *framing = Framing::Over;
            }
        }
        Ok(())
    }

    /// Appends the end of a body.
    ///
    /// # Errors
    /// The body is shorter than its declared length.
    fn end(&mut self, framing: Framing) -> Result<(), Fault> {
        match framing {
            Framing::Chunked => self.last(None),
            Framing::Known(0) | Framing::Over => {}
            Framing::Known(_) => return Err(Fault::Request),
        }
        Ok(())
    }

    fn last(&mut self, trailers: Option<&HeaderMap>) {
        let mut last = b"0\r\n".to_vec();
        if let Some(trailers) = trailers {
            write_fields(&mut last, trailers);
        }
        last.extend_from_slice(b"\r\n");
        self.push(last.into());
    }

    /// Writes once; returns the number of accepted bytes.
    pub(crate) fn poll_write<S>(&mut self, cx: &mut Context<'_>, mut stream: Pin<&mut S>) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite,
    {
        let flat = self.flat.get(self.written..).unwrap_or_default();
        let taken = if self.pieces.is_empty() {
            ready!(stream.as_mut().poll_write(cx, flat))?
        } else if stream.is_write_vectored() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX + 1];
            let used = slices.iter_mut().zip(std::iter::once(flat).chain(self.pieces.iter().map(|piece| &**piece)));
            let count = used.map(|(slice, bytes)| *slice = IoSlice::new(bytes)).count();
            let from = usize::from(flat.is_empty());
            ready!(stream.as_mut().poll_write_vectored(cx, slices.get(from..count).unwrap_or_default()))?
        } else {
            let first = if flat.is_empty() { self.pieces.front().map_or(flat, |piece| &**piece) } else { flat };
            ready!(stream.as_mut().poll_write(cx, first))?
        };
        if taken == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(taken);
        Poll::Ready(Ok(taken))
    }

    fn advance(&mut self, taken: usize) {
        let of_flat = taken.min(self.flat.len().saturating_sub(self.written));
        self.written += of_flat;
        if self.written == self.flat.len() {
            self.flat.clear();
            self.written = 0;
        }
        let mut left = taken.saturating_sub(of_flat);
        while left > 0
            && let Some(first) = self.pieces.front_mut()
        {
            let count = left.min(first.len());
            first.advance(count);
            self.bytes = self.bytes.saturating_sub(count);
            left -= count;
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

impl BodyFraming for Framing {
    fn frame(&mut self, output: &mut Output, frame: Frame<Bytes>) -> Result<(), Fault> {
        output.frame(self, frame)
    }

    fn end(&mut self, output: &mut Output) -> Result<(), Fault> {
        output.end(*self)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// A writer that accepts a fixed number of bytes at a time.
    struct Narrow {
        bytes: Vec<u8>,
        lists: bool,
        width: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.width);
            self.bytes.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.poll_write(cx, &slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>())
        }

        fn is_write_vectored(&self) -> bool {
            self.lists
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_the_same_however_much_is_taken_at_once(
            lengths in prop::collection::vec(0_usize..10_000, 0..9),
            (lists, width, chunked) in (any::<bool>(), 1_usize..20_000, any::<bool>()),
        ) {
            let mut stream = Narrow { bytes: Vec::new(), lists, width };
            let mut output = Output { flat: b"head".to_vec(), ..Output::default() };
            let sum = lengths.iter().sum::<usize>() as u64;
            let mut framing = if chunked { Framing::Chunked } else { Framing::Known(sum) };
            let mut expected = b"head".to_vec();
            for (number, length) in (0..).zip(lengths) {
                let data = vec![number; length];
                if chunked && length > 0 {
                    expected.extend_from_slice(format!("{length:x}\r\n").as_bytes());
                }
                expected.extend_from_slice(&data);
                if chunked && length > 0 {
                    expected.extend_from_slice(b"\r\n");
                }
                output.frame(&mut framing, Frame::data(data.into())).unwrap();
            }
            if chunked {
                expected.extend_from_slice(b"0\r\n\r\n");
            }
            output.end(framing).unwrap();
            while !output.is_empty() {
                let polled = output.poll_write(&mut Context::from_waker(Waker::noop()), Pin::new(&mut stream));
                prop_assert!(matches!(polled, Poll::Ready(Ok(1..))));
            }
            prop_assert_eq!(stream.bytes, expected);
        }
    }

    #[test]
    fn a_body_of_another_length_than_announced_is_broken_off() {
        let (mut output, mut framing) = (Output::default(), Framing::Known(2));
        output.frame(&mut framing, Frame::data(Bytes::from_static(b"a"))).unwrap();
        assert!(matches!(output.end(framing), Err(Fault::Request)));
        assert!(matches!(output.frame(&mut framing, Frame::data(Bytes::from_static(b"bc"))), Err(Fault::Request)));
    }
}
