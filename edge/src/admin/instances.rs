//! Operations about instances: their state, their number, and restarts.

use std::sync::Arc;

use devanture_config::api::Scope;
use devanture_config::instances::{RestartRequest, ScaleRequest};
use devanture_config::{AppName, PlaceName};
use http::{Request, Response, StatusCode};

use super::body::RequestBody;
use super::{Admin, Body, answer, body};
use crate::ledger::{Actor, Error};

impl Admin {
    pub(super) async fn instances(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, Some(environment))?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().instances(app, environment).await?))
    }

    pub(super) async fn scale(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, Some(environment))?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: ScaleRequest = self.json(request).await?;
        let (publisher, actor) = (Arc::clone(&self.publisher), actor.clone());
        let (app, environment) = (app.clone(), environment.clone());
        let scale = async move { publisher.environments().scale(&actor, &app, &environment, &wanted, dry_run).await };
        Ok(answer::json(StatusCode::OK, &self.publisher.to_its_end(scale).await?))
    }

    pub(super) async fn restart(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, Some(environment))?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: RestartRequest = self.json_or_default(request).await?;
        let (publisher, actor) = (Arc::clone(&self.publisher), actor.clone());
        let (app, environment) = (app.clone(), environment.clone());
        let restart = async move {
            publisher.environments().restart(&actor, &app, &environment, wanted.process.as_ref(), dry_run).await
        };
        Ok(answer::json(StatusCode::OK, &self.publisher.to_its_end(restart).await?))
    }
}
