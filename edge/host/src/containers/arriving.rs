//! Streamed answers of podman: images, and lists that contain the labels of all images.

use std::io::{self, Read as _};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::error::Error;
use super::podman::{Ask, Podman};

/// Pieces of a body that wait to be sent or read.
pub(super) const PIECES_WAITING: usize = 4;
/// Maximum length of a streamed answer in bytes. Only the requested fields stay in memory.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Requested fields of an answer, and their size in bytes.
pub(super) struct Parsed<T> {
    pub(super) value: T,
    pub(super) bytes: u64,
}

impl Podman {
    /// Returns the fields of `T` in a JSON answer and skips the rest; `None` if the name does not exist.
    pub(super) async fn look_up<T: DeserializeOwned + Send + 'static>(
        &self,
        ask: Ask,
        what: &'static str,
    ) -> Result<Option<Parsed<T>>, Error> {
        self.in_time(ask.time_max(), async {
            let answer = self.send(ask).await?;
            match answer.status() {
                StatusCode::NOT_FOUND => return Ok(None),
                status if !status.is_success() => return self.read(answer).await?.done(what).map(|_| None),
                _ => {}
            }
            let (sender, pieces) = mpsc::channel(PIECES_WAITING);
            let reading = tokio::task::spawn_blocking(move || {
                let mut from = io::BufReader::new(Arriving::new(pieces)).take(ANSWER_BYTES_MAX);
                let value = serde_json::from_reader(&mut from)?;
                Ok::<_, serde_json::Error>(Parsed { value, bytes: ANSWER_BYTES_MAX.saturating_sub(from.limit()) })
            });
            self.pass_body(answer, sender).await?;
            let read = reading.await.map_err(|error| self.unreachable(&error))?;
            read.map(Some).map_err(|error| self.unreachable(&format!("it answered what cannot be read: {error}")))
        })
        .await
    }

    /// Passes the body of an answer on, until the receiver is dropped.
    pub(super) async fn pass_body(
        &self,
        mut answer: http::Response<Incoming>,
        to: mpsc::Sender<Bytes>,
    ) -> Result<(), Error> {
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| self.unreachable(&error))?;
            let Ok(piece) = frame.into_data() else { continue };
            if to.send(piece).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Body that is read in a separate thread.
pub(super) struct Arriving {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Arriving {
    pub(super) const fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { pieces, piece: Bytes::new() }
    }
}

impl io::Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let Some(piece) = self.pieces.blocking_recv() else { return Ok(0) };
            self.piece = piece;
        }
        Ok(take(&mut self.piece, buffer))
    }
}

/// Takes the first bytes of a piece.
pub(super) fn take(piece: &mut Bytes, buffer: &mut [u8]) -> usize {
    let taken = piece.split_to(buffer.len().min(piece.len()));
    if let Some(buffer) = buffer.get_mut(..taken.len()) {
        buffer.copy_from_slice(&taken);
    }
    taken.len()
}
