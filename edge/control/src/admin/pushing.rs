//! Writing operations: pushes, switches.

use devanture_config::api::{BlobsStored, DeployEvent, PromoteRequest, RollbackRequest, Scope, SwitchRequest};
use devanture_config::blob_batch;
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};
use http::{Request, Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

use super::body::RequestBody;
use super::bundle::{self, PushOptions};
use super::call::{Answer, Call};
use super::state::Admin;
use super::{Body, answer, body, precondition};
use crate::ledger::Error;
use crate::publish::CheckedPush;
use crate::switch::{EventSink, Switching};

impl Admin {
    pub(super) async fn deploy(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        match body::media_type(request.headers()).as_deref() {
            Some(bundle::FORM) => return self.bundle(&actor, &app, &environment, request).await,
            Some(found) if bundle::ARCHIVES.contains(&found) => {
                return self.bundle(&actor, &app, &environment, request).await;
            }
            Some("application/json") => {}
            found => {
                let detail = format!("The body's media type is {}.", found.unwrap_or("none"));
                let hint = format!(
                    "send a manifest as application/json, or an archive as {} or, in the field `bundle`, as {}",
                    bundle::ARCHIVES.join(", "),
                    bundle::FORM
                );
                return Err(Problem::new(Code::UnsupportedType, detail).hint(hint).into());
            }
        }
        let (parts, incoming) = request.into_parts();
        let wanted = PushOptions::of_query(parts.uri.query().unwrap_or_default())?;
        let dry_run = wanted.dry_run;
        let push = self.manifest((&app, &environment), wanted, incoming).await;
        if dry_run {
            let push = push?;
            let prediction = self.publisher.predict(&actor, &app, &environment, push).await?;
            return Ok(answer::json(StatusCode::OK, &prediction));
        }
        let place = (&app, &environment);
        let push = self.publisher.note_refused(&actor, place, None, push).await?;
        let refused = push.as_refused();
        let begun = self.publisher.begin(&actor, &app, &environment, push).await;
        let begun = self.publisher.note_refused(&actor, place, Some(refused), begun).await?;
        Ok(answer::json(StatusCode::CREATED, &begun))
    }

    /// Receives a manifest, within the time limit.
    async fn manifest(
        &self,
        place: (&AppName, &PlaceName),
        wanted: PushOptions,
        mut body: RequestBody,
    ) -> Result<CheckedPush, Error> {
        let ms_max = self.publisher.limits().manifest_ms_max;
        let mut intake = self.publisher.manifest_intake(place, move |begin| wanted.add_to(begin));
        let whole = async {
            while let Some(bytes) = body.next().await? {
                intake.write(bytes).await?;
            }
            intake.end().await
        };
        tokio::time::timeout(Duration::from_millis(ms_max), whole).await.map_err(|_elapsed| {
            Problem::new(Code::BodyStalled, format!("The manifest did not come within {ms_max} ms."))
                .hint("`manifest_ms_max` in edge.toml is the limit")
        })?
    }

    pub(super) async fn put_blob(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let digest = path.digest()?;
        let Some(deploy) = body::parameter(request.uri(), "deploy") else {
            return Err(Problem::new(Code::BadRequest, "`?deploy=` is missing: a blob is sent for a push.").into());
        };
        let mut incoming = request.into_body();
        let taken = async {
            let mut receiving = self.publisher.receive(&actor, &app, &deploy, digest).await?;
            while let Some(bytes) = incoming.next().await? {
                receiving.write(bytes).await?;
            }
            self.publisher.received(receiving).await
        };
        let taken = taken.await;
        self.publisher.note_refused_blobs(&app, &deploy, taken).await?;
        Ok(answer::no_content())
    }

    pub(super) async fn put_blobs(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let deploy = body::parameter(request.uri(), "deploy");
        // Checked first: an unauthorized caller learns nothing about the format.
        let batch = deploy.as_deref().map(|deploy| self.publisher.batch(&actor, &app, deploy)).transpose()?;
        body::check_media_type(request.headers(), blob_batch::MEDIA_TYPE)?;
        let (Some(mut batch), Some(deploy)) = (batch, deploy) else {
            return Err(Problem::new(Code::BadRequest, "`?deploy=` is missing: blobs are sent for a push.").into());
        };
        let mut incoming = request.into_body();
        let came = async {
            while let Some(bytes) = incoming.next().await? {
                batch.write(&bytes)?;
            }
            batch.end()
        };
        let came = came.await;
        // Blobs received before an error are stored, so that a retry may skip them.
        let stored = batch.store().await;
        let stored = self.publisher.note_refused_blobs(&app, &deploy, stored).await;
        came?;
        Ok(answer::json(StatusCode::OK, &BlobsStored { stored: stored? }))
    }

    /// Finishes a push. Streams the steps to a client that accepts events, and returns the result to all other clients.
    pub(super) async fn finish(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let deploy = path.deploy();
        let push = self.publisher.take(&actor, &app, deploy)?;
        let is_for_events = body::accepts_events(request.headers());
        // The operation takes no body; dropping the request frees the body early.
        drop(request);
        if !is_for_events {
            return Ok(answer::json(StatusCode::OK, &self.publisher.finish(push, None).await?));
        }
        let (sink, events) = mpsc::unbounded_channel();
        let publisher = Arc::clone(&self.publisher);
        // The last event reports the outcome.
        tokio::spawn(async move { publisher.finish(push, Some(sink)).await.is_ok() });
        Ok(answer::events(events))
    }

    pub(super) async fn switch(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let condition = precondition::condition(request.headers())?;
        let dry_run = body::dry_run(request.uri())?;
        let (sink, events) = events(&request);
        let wanted: SwitchRequest = self.json(request).await?;
        let how = (&condition, dry_run);
        switched(self.publisher.switcher().switch(&actor, (&app, &environment), &wanted, how, sink).await?, events)
            .await
    }

    pub(super) async fn rollback(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let condition = precondition::condition(request.headers())?;
        let dry_run = body::dry_run(request.uri())?;
        let (sink, events) = events(&request);
        let wanted: RollbackRequest = self.json_or_default(request).await?;
        if wanted.with_settings {
            // A restoration of settings is a change of settings.
            actor.may(Scope::Promote, &app, Some(&environment))?;
            self.publisher.environments().signing.check_unsigned(&actor, (&app, &environment)).await?;
        }
        let how = (&condition, dry_run);
        switched(self.publisher.switcher().rollback(&actor, (&app, &environment), &wanted, how, sink).await?, events)
            .await
    }

    pub(super) async fn promote(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let condition = precondition::condition(request.headers())?;
        let dry_run = body::dry_run(request.uri())?;
        let (sink, events) = events(&request);
        let wanted: PromoteRequest = self.json(request).await?;
        let how = (&condition, dry_run);
        switched(self.publisher.switcher().promote(&actor, (&app, &environment), &wanted, how, sink).await?, events)
            .await
    }
}

pub(super) type Events = mpsc::UnboundedReceiver<DeployEvent>;

/// Returns the event channel, if the client requests events.
pub(super) fn events(request: &Request<RequestBody>) -> (Option<EventSink>, Option<Events>) {
    if !body::accepts_events(request.headers()) {
        return (None, None);
    }
    let (sink, events) = mpsc::unbounded_channel();
    (Some(sink), Some(events))
}

/// Answers a switch by its events or by its result.
pub(super) async fn switched(switching: Switching, events: Option<Events>) -> Result<Response<Body>, Error> {
    if let Some(events) = events {
        // The last event reports the outcome.
        return Ok(answer::events(events));
    }
    match switching.await {
        Ok(report) => Ok(answer::json(StatusCode::OK, &report?)),
        Err(error) => {
            tracing::error!(%error, "a switch ended without a result");
            Err(Problem::new(Code::Internal, "The switch ended without a result.").into())
        }
    }
}
