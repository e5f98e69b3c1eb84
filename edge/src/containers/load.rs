//! Archives of images on their way from the blobs into the engine's store.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::archive::{self, BadArchive};
use super::error::{Error, TAKE_ARCHIVE};
use super::podman::{Ask, BodyStream, Podman};
use crate::blobs::ReadAt;

/// Pieces of an archive that wait to be sent.
const PIECES_WAITING: usize = 4;
/// Bytes of an archive that are read at once.
const PIECE_BYTES: usize = 256 * 1024;

impl Podman {
    /// Gives an archive to the engine within `ms_max` milliseconds, if its layers have at most `bytes_max` bytes once they
    /// are unpacked; returns the name that the image has in its store, which is none that the archive says.
    ///
    /// # Errors
    /// [`Error::Images`], [`Error::Refused`], [`Error::Slow`], [`Error::Unreachable`].
    pub(super) async fn load(&self, archive: Arc<dyn ReadAt>, bytes_max: u64, ms_max: u64) -> Result<String, Error> {
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        let copied = tokio::task::spawn_blocking(move || {
            let to = io::BufWriter::with_capacity(PIECE_BYTES, Sending(sender.clone()));
            let copied = archive::checked_copy(Reading { of: &*archive, at: 0, piece: Bytes::new() }, to, bytes_max);
            if copied.is_err() {
                // The engine gets no end that it could take for one.
                sender.blocking_send(Err(io::ErrorKind::InvalidData.into())).ok();
            }
            copied
        });
        let stream: BodyStream = futures_util::stream::unfold(receiver, |mut receiver| async {
            let piece: io::Result<Bytes> = receiver.recv().await?;
            Some((piece.map(Frame::data), receiver))
        })
        .boxed();
        let ask = Ask::post("/images/load").header("content-type", "application/x-tar".to_owned()).stream(stream);
        let asked = timeout(Duration::from_millis(ms_max), self.ask(ask.unlimited())).await;
        let slow = |_elapsed| Error::Slow { what: "the image of the archive".to_owned(), ms_max };
        let asked = asked.map_err(slow)?;
        let refused = |why: BadArchive| Error::Refused { what: TAKE_ARCHIVE, why: why.to_string() };
        // What is wrong with the archive says more than that the engine did not get all of it.
        copied.await.map_err(|error| self.unreachable(&error))?.map_err(refused)?;
        let value = asked?.done(TAKE_ARCHIVE)?.value();
        match value.get("Names").and_then(Value::as_array).map(Vec::as_slice) {
            Some([name]) => Ok(name.as_str().unwrap_or_default().trim_start_matches("sha256:").to_owned()),
            other => Err(Error::Images(other.map_or(0, <[Value]>::len))),
        }
    }
}

/// A blob, read from its beginning on.
struct Reading<'b> {
    of: &'b dyn ReadAt,
    at: u64,
    piece: Bytes,
}

impl io::Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.at < self.of.size() {
            self.piece = self.of.read_at(self.at, PIECE_BYTES)?;
            self.at = self.at.saturating_add(u64::try_from(self.piece.len()).unwrap_or(u64::MAX));
        }
        let length = buffer.len().min(self.piece.len());
        let piece = self.piece.split_to(length);
        if let Some(buffer) = buffer.get_mut(..length) {
            buffer.copy_from_slice(&piece);
        }
        Ok(length)
    }
}

/// Sends what is written to it.
struct Sending(mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_gone| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
