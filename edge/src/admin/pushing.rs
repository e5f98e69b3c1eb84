//! Operations that write: pushes, switches.

use devanture_config::api::{BeginDeploy, PromoteRequest, RollbackRequest, Scope, SwitchRequest};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest, PlaceName};
use http::{Request, Response, StatusCode};
use std::sync::Arc;

use super::body::RequestBody;
use super::bundle::{self, Wanted};
use super::{Admin, Body, answer, body, precondition};
use crate::publish::{Actor, Error};

impl Admin {
    pub(super) async fn begin(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, Some(environment))?;
        match body::media_type(request.headers()).as_deref() {
            Some(bundle::FORM) => return self.bundle(actor, app, environment, request).await,
            Some(found) if bundle::ARCHIVES.contains(&found) => {
                return self.bundle(actor, app, environment, request).await;
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
        let wanted = Wanted::of_query(parts.uri.query().unwrap_or_default())?;
        let mut begin: BeginDeploy =
            body::json(&parts.headers, incoming, self.publisher.limits().manifest_bytes_max).await?;
        wanted.add_to(&mut begin);
        let begun = self.publisher.begin(actor, app, environment, begin).await?;
        Ok(answer::json(StatusCode::CREATED, &begun))
    }

    pub(super) async fn blob(
        &self,
        actor: &Actor,
        app: &AppName,
        digest: Digest,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, None)?;
        let Some(deploy) = body::parameter(request.uri(), "deploy") else {
            return Err(Problem::new(Code::BadRequest, "`?deploy=` is missing: a blob is sent for a push.").into());
        };
        let mut receiving = self.publisher.receive(actor, app, &deploy, digest).await?;
        let mut incoming = request.into_body();
        while let Some(bytes) = incoming.next().await? {
            receiving.write(bytes).await?;
        }
        self.publisher.received(receiving).await?;
        Ok(answer::no_content())
    }

    /// Streams the steps where the client wants events, and answers with the result else.
    pub(super) async fn finish(
        &self,
        actor: &Actor,
        app: &AppName,
        deploy: &str,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, None)?;
        let push = self.publisher.take(actor, app, deploy)?;
        if !body::accepts_events(request.headers()) {
            return Ok(answer::json(StatusCode::OK, &self.publisher.finish(push, None).await?));
        }
        let (sink, events) = tokio::sync::mpsc::unbounded_channel();
        let publisher = Arc::clone(&self.publisher);
        // How it ends stands in the last event.
        tokio::spawn(async move { publisher.finish(push, Some(sink)).await.is_ok() });
        Ok(answer::events(events))
    }

    pub(super) async fn switch(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, Some(environment))?;
        let condition = precondition::condition(request.headers())?;
        let wanted: SwitchRequest = self.json(request).await?;
        let report = self.publisher.switch(actor, app, environment, &wanted, &condition).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn rollback(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, Some(environment))?;
        let condition = precondition::condition(request.headers())?;
        let (parts, incoming) = request.into_parts();
        let limit = self.publisher.limits().admin_body_bytes_max;
        let wanted: RollbackRequest = body::json_or_default(&parts.headers, incoming, limit).await?;
        let report = self.publisher.rollback(actor, app, environment, &wanted, &condition).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn promote(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Promote, app, Some(environment))?;
        let condition = precondition::condition(request.headers())?;
        let wanted: PromoteRequest = self.json(request).await?;
        let report = self.publisher.promote(actor, app, environment, &wanted, &condition).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn json<T: serde::de::DeserializeOwned>(&self, request: Request<RequestBody>) -> Result<T, Error> {
        let (parts, incoming) = request.into_parts();
        body::json(&parts.headers, incoming, self.publisher.limits().admin_body_bytes_max).await
    }
}
