//! Operations that only look: status, history, aliases.

use devanture_config::api::Scope;
use devanture_config::{AppName, PlaceName};
use http::{Request, Response, StatusCode};

use super::body::RequestBody;
use super::{Admin, Body, answer, body};
use crate::publish::{Actor, Error};

/// Deploys on a page of the history where nothing is said.
const PAGE: usize = 50;

impl Admin {
    pub(super) async fn status(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, Some(environment))?;
        Ok(answer::json(StatusCode::OK, &self.publisher.status(app, environment).await?))
    }

    pub(super) async fn history(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, Some(environment))?;
        let limit = body::number(request.uri(), "limit", PAGE)?;
        let before = body::parameter(request.uri(), "before");
        let history = self.publisher.history(app, environment, limit, before.as_deref()).await?;
        Ok(answer::json(StatusCode::OK, &history))
    }

    pub(super) async fn aliases(&self, actor: &Actor, app: &AppName) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, None)?;
        let mut places = self.publisher.places(app).await?;
        places.retain(|place| place.alias);
        Ok(answer::json(StatusCode::OK, &places))
    }
}
