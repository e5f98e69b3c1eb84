//! Operations that only look: status, history.

use devanture_config::api::Scope;
use devanture_config::{AppName, PlaceName};
use http::{Request, Response, StatusCode};

use super::body::RequestBody;
use super::{Admin, Body, answer, body, precondition};
use crate::ledger::{Actor, Error};

/// Default number of deploys on a page of the history.
const PAGE: usize = 50;

impl Admin {
    pub(super) async fn status(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, Some(environment))?;
        let (revision, status) = self.publisher.environments().status(actor, app, environment).await?;
        precondition::view(request.headers(), revision, &status)
    }

    pub(super) async fn history(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, Some(environment))?;
        let page = body::page(request.uri(), "before", PAGE)?;
        let history = self.publisher.ledger().history(app, environment, &page).await?;
        Ok(answer::json(StatusCode::OK, &history))
    }
}
