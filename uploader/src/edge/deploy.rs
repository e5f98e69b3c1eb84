//! The requests of a push with bodies beyond JSON: blobs, archives, and the stream of steps.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use devanture_config::api::{DeployBegun, DeployReport, Step, SwitchReport};
use devanture_config::problem::Code;
use devanture_config::{Digest, PlaceName};
use devanture_project::bundle::{Blob, Bundle};
use futures_util::Stream;
use futures_util::stream;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::client::{self, ANSWER_TIME_MAX, Edge, Refusal};
use super::events;
use super::taken::UploadProgress;
use crate::output::exit::Failure;
use crate::output::progress::Sent;

/// Bytes of a file that are read and sent at once. On a slow line, a piece must be sent well within [`STALL_TIME_MAX`].
const CHUNK_BYTES: usize = 64 * 1024;
/// Longest time of the uploads to an edge without any progress, and then longest wait for an answer.
pub(super) const STALL_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest work of the edge on an archive after its last byte.
const ARCHIVE_TIME_MAX: Duration = Duration::from_secs(1_800);
/// Longest silence of the stream of steps.
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// The media type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";

/// The reason why a blob was not sent.
#[derive(Debug)]
pub(crate) enum BlobError {
    /// The content of this file has changed since the hashing.
    Changed(PathBuf),
    /// Any other failure.
    Failed(Failure),
}

impl Edge {
    /// Sends a blob; `sent` counts the sent bytes, and subtracts those of a failed attempt.
    ///
    /// The last piece of the file is sent only if the whole file has the expected hash, so that a file changed
    /// meanwhile never arrives.
    ///
    /// # Errors
    /// A [`BlobError`].
    pub(super) async fn put_blob(
        &self,
        deploy: &str,
        digest: Digest,
        blob: &Blob,
        sent: &Arc<Sent>,
    ) -> Result<(), BlobError> {
        let changed = Arc::new(AtomicBool::new(false));
        let name = digest.to_string();
        let attempt = async || {
            let opened = tokio::task::spawn_blocking({
                let path = blob.path.clone();
                move || path.open()
            });
            let file = opened.await.map_err(io::Error::other).flatten().map_err(|error| {
                // The file existed at the hashing.
                changed.store(true, Ordering::Relaxed);
                let message = format!("{} cannot be read: {error}.", blob.path.path().display());
                Refusal::Final(Failure::new(Code::UnreadableFile, message))
            })?;
            let out = self.taken();
            let body = BlobBody {
                file: File::from_std(file),
                hasher: blake3::Hasher::new(),
                digest,
                left: blob.bytes,
                out: out.clone(),
                changed: Arc::clone(&changed),
                sent: Arc::clone(sent),
            };
            let request = self
                .request(Method::PUT, &["blobs", &name], &[("deploy", deploy)])
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, blob.bytes)
                .body(reqwest::Body::wrap_stream(body.into_stream()));
            let answer = self.send_watched(request, &out, STALL_TIME_MAX).await;
            if answer.is_err() {
                sent.add_bytes(-i64::try_from(out.own()).unwrap_or(i64::MAX));
            }
            match answer {
                // A repetition would read the same changed file.
                Err(Refusal::Again(failure, _)) if changed.load(Ordering::Relaxed) => Err(Refusal::Final(failure)),
                other => other.map(drop),
            }
        };
        let answer = client::repeat(self.waits(), client::BLOB_TRIES_MAX, attempt).await;
        match answer {
            Ok(()) => Ok(()),
            Err(_) if changed.load(Ordering::Relaxed) => Err(BlobError::Changed(blob.path.path())),
            Err(failure) => Err(BlobError::Failed(failure)),
        }
    }

    /// Ends a push: the edge verifies, compresses, prepares and switches; calls `on_step` for each step.
    ///
    /// # Errors
    /// [`Refusal::Final`] with the problem of the edge, [`Refusal::Again`] if the connection broke before the end: then
    /// the outcome of the deploy is unknown.
    pub(crate) async fn finish(&self, deploy: &str, on_step: &mut dyn FnMut(&Step)) -> Result<DeployReport, Refusal> {
        let request = self.request(Method::POST, &["deploys", deploy, "finish"], &[]).header(ACCEPT, EVENT_STREAM);
        let response = within(SILENCE_MAX, self.send(request)).await.unwrap_or_else(|| Err(silent()))?;
        self.follow(response, on_step).await
    }

    /// Moves a live pointer, and reports the steps; sent once, since the outcome of a lost request is unknown.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn move_live(
        &self,
        segments: &[&str],
        body: &impl Serialize,
        on_step: &mut dyn FnMut(&Step),
    ) -> Result<SwitchReport, Failure> {
        let request = self
            .request(Method::POST, segments, &[])
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream, application/json, application/problem+json")
            .body(client::encoded(body)?);
        let sent = within(ANSWER_TIME_MAX, self.send(request)).await.unwrap_or_else(|| Err(silent()));
        let response = sent.map_err(Refusal::into_failure)?;
        self.follow(response, on_step).await.map_err(Refusal::into_failure)
    }

    async fn follow<T: DeserializeOwned>(
        &self,
        mut response: Response,
        on_step: &mut dyn FnMut(&Step),
    ) -> Result<T, Refusal> {
        if client::media_type(&response) != EVENT_STREAM {
            // The request was accepted, so that it may have been carried out whatever the answer is.
            let report = self.read_json(response).await;
            return report.map_err(|refusal| Refusal::Again(refusal.into_failure(), None));
        }
        let mut parser = events::Parser::default();
        loop {
            let chunk = within(SILENCE_MAX, response.chunk()).await.ok_or_else(silent)?;
            let chunk = chunk.map_err(|error| Refusal::Again(self.unreachable(&error), None))?;
            let Some(chunk) = chunk else {
                let message = "The connection ended before the edge said how the deploy did.";
                return Err(Refusal::Again(Failure::new(Code::Unreachable, message), None));
            };
            let events = parser.take(&chunk).map_err(|error| unheard(&error))?;
            for event in events {
                match event.name.as_str() {
                    // An unreadable step is not printed; the outcome of the deploy is in the last event.
                    "step" => {
                        if let Ok(step) = serde_json::from_str::<Step>(&event.data) {
                            on_step(&step);
                        }
                    }
                    "done" => return serde_json::from_str(&event.data).map_err(|error| unheard(&error)),
                    "problem" => {
                        let problem = client::read_problem(StatusCode::OK, event.data.as_bytes());
                        return Err(Refusal::Final(problem.unwrap_or_else(|| garbled(&event.data))));
                    }
                    // A newer edge may send further events.
                    _ => {}
                }
            }
        }
    }

    /// Sends an archive of known length, and waits until the edge has unpacked the archive and made the version live.
    ///
    /// # Errors
    /// [`Refusal::Final`] with the problem of the edge, [`Refusal::Again`] if the connection broke before the end: then
    /// the archive may have gone live.
    pub(crate) async fn push_archive(
        &self,
        environment: &PlaceName,
        archive: (std::fs::File, u64, &'static str),
        query: &[(&str, &str)],
        sent: &Arc<Sent>,
    ) -> Result<DeployReport, Refusal> {
        let (file, bytes, media_type) = archive;
        let out = self.taken();
        let body = read_all(File::from_std(file), out.clone(), Arc::clone(sent));
        let request = self
            .request(Method::POST, &["environments", environment.as_str(), "deploys"], query)
            .header(CONTENT_TYPE, media_type)
            .header(CONTENT_LENGTH, bytes)
            .header(ACCEPT, "application/json, application/problem+json")
            .body(reqwest::Body::wrap_stream(body));
        let response = self.send_watched(request, &out, ARCHIVE_TIME_MAX).await?;
        let report = self.read_json(response).await?;
        client::check_report(self, report).map_err(Refusal::Final)
    }

    /// Sends a request, and gives up if no upload to the edge has progressed for `rest_max`.
    pub(super) async fn send_watched(
        &self,
        request: RequestBuilder,
        out: &UploadProgress,
        rest_max: Duration,
    ) -> Result<Response, Refusal> {
        tokio::select! {
            answer = self.send(request) => answer,
            () = out.rest(rest_max) => {
                self.leave_connections();
                Err(silent())
            }
        }
    }
}

/// A file sent as a blob.
struct BlobBody {
    file: File,
    hasher: blake3::Hasher,
    digest: Digest,
    left: u64,
    out: UploadProgress,
    changed: Arc<AtomicBool>,
    sent: Arc<Sent>,
}

impl BlobBody {
    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold((self, false), |(mut body, is_over)| async move {
            if is_over {
                return Ok(None);
            }
            let piece = body.next_piece().await?;
            let is_over = body.left == 0;
            Ok(Some((piece, (body, is_over))))
        })
    }

    async fn next_piece(&mut self) -> io::Result<Bytes> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let mut piece = BytesMut::with_capacity(wanted);
        while piece.len() < wanted {
            let rest = (wanted - piece.len()) as u64;
            if (&mut self.file).take(rest).read_buf(&mut piece).await? == 0 {
                return Err(self.change());
            }
        }
        self.hasher.update(&piece);
        self.left -= piece.len() as u64;
        if self.left == 0 && Digest::from(self.hasher.finalize()) != self.digest {
            return Err(self.change());
        }
        self.out.add(piece.len());
        self.sent.add_bytes(i64::try_from(piece.len()).unwrap_or(i64::MAX));
        Ok(piece.freeze())
    }

    fn change(&self) -> io::Error {
        self.changed.store(true, Ordering::Relaxed);
        io::Error::other("the file has changed")
    }
}

fn read_all(
    file: File,
    out: UploadProgress,
    sent: Arc<Sent>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((file, out, sent), |(mut file, out, sent)| async move {
        let mut piece = BytesMut::with_capacity(CHUNK_BYTES);
        let count = file.read_buf(&mut piece).await?;
        out.add(count);
        sent.add_bytes(i64::try_from(count).unwrap_or(i64::MAX));
        Ok((count > 0).then(|| (piece.freeze(), (file, out, sent))))
    })
}

async fn within<T>(time_max: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(time_max, future).await.ok()
}

fn silent() -> Refusal {
    Refusal::Again(client::silent(), None)
}

/// Returns the refusal for a deploy that goes on at the edge with an unknown outcome.
fn unheard(error: &dyn std::fmt::Display) -> Refusal {
    let Failure { message, hint, .. } = garbled(error);
    Refusal::Again(Failure { hint, ..Failure::new(Code::Unreachable, message) }, None)
}

fn garbled(what: &dyn std::fmt::Display) -> Failure {
    let what: String = what.to_string().chars().take(200).collect();
    Failure::new(Code::Internal, format!("The edge sent an event that cannot be read: {what}."))
        .hint("is this `devanture` of the same version as the edge?")
}

/// Returns the blobs requested by the edge, with their sources.
pub(crate) fn missing_blobs<'b>(bundle: &'b Bundle, begun: &DeployBegun) -> Result<Vec<(Digest, &'b Blob)>, Failure> {
    let find = |digest: &Digest| {
        let blob = bundle.blobs.get(digest).map(|blob| (*digest, blob));
        blob.ok_or_else(|| {
            Failure::new(Code::Internal, format!("The edge asks for {digest}, which the bundle does not hold."))
        })
    };
    begun.missing.iter().map(find).collect()
}
