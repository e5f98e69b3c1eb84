//! The bytes of an archive, over several connections if needed: an interrupted download resumes behind the received
//! bytes.

use bytes::Bytes;
use devanture_config::api::{DataRest, SnapshotName};
use devanture_config::problem::Code;
use devanture_config::{Digest, PlaceName};
use tokio::sync::mpsc;

use crate::edge::client::Edge;
use crate::output::exit::Failure;
use crate::output::progress::Progress;
use crate::output::report::byte_text;

/// Upper bound of consecutive connections without any bytes.
const TRIES_MAX: u32 = 5;

/// The source of a download.
pub(super) struct Source<'s> {
    pub(super) edge: &'s Edge,
    /// The environment, and the node in a cluster of several.
    pub(super) of: (&'s PlaceName, Option<&'s str>),
    /// A snapshot, in place of the data.
    pub(super) snapshot: Option<&'s SnapshotName>,
    pub(super) progress: &'s Progress,
}

/// The received part of an archive.
#[derive(Default)]
pub(super) struct Received {
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Received {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn rest(&self) -> DataRest {
        DataRest { from: self.bytes, digest: Digest::from(*self.hasher.finalize().as_bytes()) }
    }
}

/// Sends the bytes behind `received` to `to`; a closed `to` ends the download, too.
///
/// # Errors
/// The error of the edge; `archive_cut_off` if the connection breaks repeatedly; `precondition_failed` if the received
/// bytes are not the beginning of the archive any more.
pub(super) async fn download(
    source: &Source<'_>,
    mut received: Received,
    to: mpsc::Sender<Bytes>,
) -> Result<(), Failure> {
    let Source { edge, of, snapshot, progress } = *source;
    let mut tries = 0;
    loop {
        let mut response = match received.bytes {
            0 => edge.data_archive(of, snapshot).await?,
            _ => edge.rest_of_data_archive(of, snapshot, received.rest()).await?,
        };
        let before = received.bytes;
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    received.add(&piece);
                    if to.send(piece).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(_broken) => break,
            }
        }
        tries = if received.bytes > before { 1 } else { tries + 1 };
        if tries >= TRIES_MAX || received.bytes == 0 {
            return Err(Failure::new(Code::ArchiveCutOff, "The download broke off again and again."));
        }
        progress.note(&format!("the connection broke: the download goes on behind {}", byte_text(received.bytes)));
    }
}
