//! Image archives on the way from the blobs into podman's store, and out of the store for inspection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::archive::{self, BadArchive};
use super::arriving::{Arriving, PIECES_WAITING, take};
use super::error::{Error, TAKE_ARCHIVE};
use super::podman::{Ask, BodyStream, Podman, encoded};
use devanture_store::blobs::ReadAt;

/// Bytes of an archive read at once.
const PIECE_BYTES: usize = 256 * 1024;

impl Podman {
    /// Loads an archive into podman within `ms_max` milliseconds, if the layers have at most `bytes_max` bytes when
    /// unpacked; returns the name of the image in the store, never a name from the archive.
    ///
    /// The whole archive is checked first: layers unpacked from an incomplete archive would stay in the store.
    ///
    /// # Errors
    /// [`Error::Images`], [`Error::Refused`], [`Error::Slow`], [`Error::Unreachable`].
    pub(super) async fn load(&self, archive: Arc<dyn ReadAt>, bytes_max: u64, ms_max: u64) -> Result<String, Error> {
        let refused = |why: BadArchive| Error::Refused { what: TAKE_ARCHIVE, why: why.to_string() };
        let whole = Arc::clone(&archive);
        let checking =
            tokio::task::spawn_blocking(move || archive::checked_copy(Reading::of(&*whole), io::sink(), bytes_max));
        let slow = |_elapsed| Error::Slow { what: "the image of the archive".to_owned(), ms_max };
        let until = Instant::now() + Duration::from_millis(ms_max);
        let checked = timeout_at(until, checking).await.map_err(slow)?;
        checked.map_err(|error| self.unreachable(&error))?.map_err(refused)?;
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        let copied = tokio::task::spawn_blocking(move || {
            let to = io::BufWriter::with_capacity(PIECE_BYTES, Sending(sender.clone()));
            let copied = archive::checked_copy(Reading::of(&*archive), to, bytes_max);
            if copied.is_err() {
                // Podman receives no end that could pass for a complete archive.
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
        let asked = timeout_at(until, self.ask(ask.unlimited())).await.map_err(slow)?;
        // A problem of the archive is more specific than podman's error about an incomplete archive.
        copied.await.map_err(|error| self.unreachable(&error))?.map_err(refused)?;
        let value = asked?.done(TAKE_ARCHIVE)?.value();
        match value.get("Names").and_then(Value::as_array).map(Vec::as_slice) {
            Some([name]) => Ok(name.as_str().unwrap_or_default().trim_start_matches("sha256:").to_owned()),
            other => Err(Error::Images(other.map_or(0, <[Value]>::len))),
        }
    }
}

impl Podman {
    /// Inspects the layers of an image fetched by podman, within `ms_max` milliseconds: at most `bytes_max` bytes, and
    /// only content that is permitted in an archive.
    ///
    /// # Errors
    /// [`Error::NotTaken`], [`Error::Refused`], [`Error::Slow`], [`Error::Unreachable`].
    pub(super) async fn look_through(&self, id: &str, bytes_max: u64, ms_max: u64) -> Result<(), Error> {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let looking = tokio::task::spawn_blocking(move || {
            archive::check_layers(io::BufReader::new(Arriving::new(pieces)), bytes_max)
        });
        let passed = timeout(Duration::from_millis(ms_max), self.pass_on(id, sender)).await;
        let looked = looking.await.map_err(|error| self.unreachable(&error))?;
        passed.map_err(|_elapsed| Error::Slow { what: "what the image holds".to_owned(), ms_max })??;
        looked.map_err(|why| Error::NotTaken(why.to_string()))
    }

    /// Exports an image as an archive, until the receiver is dropped.
    async fn pass_on(&self, id: &str, to: mpsc::Sender<Bytes>) -> Result<(), Error> {
        let ask = Ask::get(format!("/images/{}/get?format=oci-archive", encoded(id)));
        let answer = self.send(ask).await?;
        if !answer.status().is_success() {
            return self.read(answer).await?.done("read the image").map(drop);
        }
        self.pass_body(answer, to).await
    }
}

/// Blob, read from the beginning.
struct Reading<'b> {
    of: &'b dyn ReadAt,
    at: u64,
    piece: Bytes,
}

impl<'b> Reading<'b> {
    fn of(blob: &'b dyn ReadAt) -> Self {
        Self { of: blob, at: 0, piece: Bytes::new() }
    }
}

impl io::Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.at < self.of.size() {
            self.piece = self.of.read_at(self.at, PIECE_BYTES)?;
            self.at = self.at.saturating_add(u64::try_from(self.piece.len()).unwrap_or(u64::MAX));
        }
        Ok(take(&mut self.piece, buffer))
    }
}

/// Sends the written bytes.
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
