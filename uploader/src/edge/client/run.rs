//! The stream of a one-off command on an edge.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use devanture_config::PlaceName;
use devanture_config::api::{RunPrediction, RunRequest};
use devanture_config::problem::Code;
use devanture_config::run_stream::{ClientFrame, EdgeFrame, Frame as _, MEDIA_TYPE, Reader};
use futures_util::stream;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response};
use tokio::sync::mpsc;

use super::{ANSWER_TIME_MAX, DRY_RUN, Edge, Refusal, encoded};
use crate::output::exit::Failure;

/// Upper bound of frames in the send queue.
const FRAMES_WAITING: usize = 16;
/// Attempts to begin, if the edge has refused one without running the command.
const ATTEMPTS_MAX: u32 = 3;

/// A command on the edge, which runs as long as this value lives.
pub(crate) struct RunStream {
    to: mpsc::Sender<Bytes>,
    from: Response,
    reader: Reader,
}

impl Edge {
    /// Requests the command that would run.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn predict_run(
        &self,
        at: (&PlaceName, Option<&str>),
        wanted: &RunRequest,
    ) -> Result<RunPrediction, Failure> {
        let begin = begin(wanted)?;
        let request = || {
            let request = self.run_request(at, &DRY_RUN);
            request.header(CONTENT_TYPE, MEDIA_TYPE).timeout(ANSWER_TIME_MAX).body(begin.clone())
        };
        self.repeated(request).await
    }

    /// Builds a request to run a command, on the given node of a cluster, if any.
    fn run_request(&self, (env, node): (&PlaceName, Option<&str>), query: &[(&str, &str)]) -> RequestBuilder {
        let query: Vec<_> = node.map(|node| ("node", node)).into_iter().chain(query.iter().copied()).collect();
        self.request(Method::POST, &["environments", env.as_str(), "run"], &query)
    }

    /// Starts a command. Sent once, since the outcome of a lost request is unknown, unless the edge states that the
    /// command did not run.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn run(&self, at: (&PlaceName, Option<&str>), wanted: &RunRequest) -> Result<RunStream, Failure> {
        let begin = begin(wanted)?;
        let begun = Instant::now();
        let mut attempts = 1;
        loop {
            let (to, frames) = mpsc::channel(FRAMES_WAITING);
            // The empty queue has room for the first frame.
            to.try_send(begin.clone()).ok();
            let frames = stream::unfold(frames, async |mut frames: mpsc::Receiver<Bytes>| {
                frames.recv().await.map(|bytes| (Ok::<_, Infallible>(bytes), frames))
            });
            let request = self.run_request(at, &[]);
            let request = request
                .header(CONTENT_TYPE, MEDIA_TYPE)
                .header(ACCEPT, format!("{MEDIA_TYPE}, application/problem+json"))
                .body(reqwest::Body::wrap_stream(frames));
            let refusal = match self.send(request).await {
                Ok(from) if super::media_type(&from) == MEDIA_TYPE => {
                    return Ok(RunStream { to, from, reader: Reader::default() });
                }
                Ok(_) => return Err(self.not_an_edge("its answer is no stream of a command")),
                Err(refusal) => refusal,
            };
            if refusal.wait_for_takeover(begun, self.waits()).await {
                continue;
            }
            match refusal {
                // The next token of a login is shown in the next attempt.
                Refusal::Again(_, Some(Duration::ZERO)) if attempts < ATTEMPTS_MAX => attempts += 1,
                refusal => return Err(refusal.into_failure()),
            }
        }
    }
}

fn begin(wanted: &RunRequest) -> Result<Bytes, Failure> {
    // If the command is too long for a frame, the edge would refuse it as well.
    let bytes = ClientFrame::Begin(wanted.clone()).bytes().map(Bytes::from);
    bytes.map_err(|_too_long| {
        let length = encoded(wanted).map_or(0, |text| text.len());
        Failure::new(Code::Usage, format!("The command is too long: {length} bytes."))
            .hint("write it into a script of the bundle")
    })
}

impl RunStream {
    /// Sends a frame.
    ///
    /// # Errors
    /// `unreachable`.
    pub(crate) async fn send(&self, frame: &ClientFrame) -> Result<(), Failure> {
        let bytes = frame.bytes().map_err(|error| garbled(&error))?;
        self.to.send(bytes.into()).await.map_err(|_closed| lost("the edge takes nothing more"))
    }

    /// Returns the next frame. Cancel-safe.
    ///
    /// # Errors
    /// `unreachable`, if the connection breaks before the last frame.
    pub(crate) async fn next(&mut self) -> Result<EdgeFrame, Failure> {
        loop {
            if let Some(frame) = self.reader.next_frame().map_err(|error| garbled(&error))? {
                return Ok(frame);
            }
            match self.from.chunk().await {
                Ok(Some(bytes)) => self.reader.push(&bytes),
                Ok(None) => return Err(lost("the stream ended before the command")),
                Err(error) => return Err(lost(&super::root_cause(&error))),
            }
        }
    }
}

/// Returns the failure of a broken connection during a command, which ends the command.
pub(crate) fn lost(why: &str) -> Failure {
    Failure::new(Code::Unreachable, format!("The connection to the command is lost: {why}."))
        .hint("the edge has ended it, or will in a moment; `devanture audit` shows its end")
}

/// Returns the failure of a stream that does not come from an edge.
pub(crate) fn garbled(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::Unreachable, format!("The stream of the command cannot be read: {why}."))
}
