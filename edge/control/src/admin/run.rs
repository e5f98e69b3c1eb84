//! `run`: a command run once; its frames travel in the bodies of one request and its response.

use std::time::Duration;

use devanture_config::api::RunRequest;
use devanture_config::problem::{Code, Problem};
use devanture_config::run_stream::{ClientFrame, MEDIA_TYPE, Reader};
use futures_util::stream;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use super::body::RequestBody;
use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body};
use crate::cluster::ApiBody;
use crate::ledger::Error;
use crate::runner::{EndedBy, FrameSource};

/// Longest wait for the first frame.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(10);
/// Most output frames queued for writing.
const FRAMES_WAITING: usize = 4;

impl Admin {
    pub(super) async fn run_once(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let dry_run = body::dry_run(request.uri())?;
        if let Some(node) = body::parameter(request.uri(), "node") {
            self.publisher.environments().data.check_node(&node)?;
        }
        let mut frames = Frames::of(request)?;
        let wanted = frames.begin().await?;
        // Checked again after the first frame: the reader of frames does not check the credential, unlike other bodies.
        self.credentials.check(&actor).await?;
        let environments = self.publisher.environments();
        if dry_run {
            let predicted = environments.commands.predict_run(&actor, (&app, &environment), wanted).await?;
            return Ok(answer::json(StatusCode::OK, &predicted));
        }
        let mut in_force = self.credentials.in_force(actor.clone()).await;
        // A command ends with the right to run commands.
        let ended_by: EndedBy = Box::pin(async move {
            in_force.ended().await;
            let detail = "The token has expired or was revoked, and the command was ended.";
            Problem::new(Code::RunEnded, detail)
        });
        let (to, output) = mpsc::channel(FRAMES_WAITING);
        environments.commands.run(&actor, (&app, &environment), wanted, (frames.into_source(), to), ended_by).await?;
        let output = stream::unfold(output, async |mut output| Some((output.recv().await?, output)));
        Ok(answer::streamed(MEDIA_TYPE, output))
    }
}

/// Frames of a request.
struct Frames {
    incoming: ApiBody,
    reader: Reader,
}

impl Frames {
    /// # Errors
    /// `unsupported_type`.
    fn of(request: Request<RequestBody>) -> Result<Self, Error> {
        body::check_media_type(request.headers(), MEDIA_TYPE)?;
        Ok(Self { incoming: request.into_body().unread()?, reader: Reader::default() })
    }

    /// Reads the first frame, which names the command.
    ///
    /// # Errors
    /// `bad_request`.
    async fn begin(&mut self) -> Result<RunRequest, Error> {
        match tokio::time::timeout(BEGIN_TIME_MAX, self.next()).await {
            Ok(Some(ClientFrame::Begin(request))) => Ok(request),
            _ => Err(Problem::new(Code::BadRequest, "The body does not begin with the frame of a command.").into()),
        }
    }

    /// Returns the next frame; `None` after a disconnect or an invalid frame.
    async fn next(&mut self) -> Option<ClientFrame> {
        loop {
            if let Some(frame) = self.reader.next_frame().ok()? {
                return Some(frame);
            }
            // Trailers are ignored.
            if let Ok(bytes) = self.incoming.frame().await?.ok()?.into_data() {
                self.reader.push(&bytes);
            }
        }
    }

    fn into_source(self) -> FrameSource {
        Box::pin(stream::unfold(self, async |mut frames| frames.next().await.map(|frame| (frame, frames))))
    }
}
