//! Operations of upkeep: pauses, deletions, withdrawals.

use devanture_config::api::{PauseRequest, Scope, WithdrawRequest};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};
use http::{Request, Response, StatusCode};

use super::body::RequestBody;
use super::{Admin, Body, answer, body};
use crate::ledger::{Actor, Error};

/// Default number of withdrawn paths on a page.
const PAGE: usize = 1_000;

impl Admin {
    pub(super) async fn pause(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, Some(environment))?;
        let wanted: PauseRequest = self.json_or_default(request).await?;
        let report = self.publisher.environments().pause(actor, app, environment, wanted).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn resume(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, Some(environment))?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().resume(actor, app, environment).await?))
    }

    pub(super) async fn delete_version(
        &self,
        actor: &Actor,
        app: &AppName,
        version: &str,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may_everywhere(Scope::Push, app)?;
        let report = match body::flag(request.uri(), "purge")? {
            true => self.publisher.retention().purge_version(actor, app, version).await?,
            false => self.publisher.retention().delete_version(actor, app, version).await?,
        };
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn withdraw(
        &self,
        actor: &Actor,
        app: &AppName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may_everywhere(Scope::Push, app)?;
        let wanted: WithdrawRequest = self.json(request).await?;
        Ok(answer::json(StatusCode::OK, &self.publisher.retention().withdraw(actor, app, &wanted).await?))
    }

    pub(super) async fn restore(
        &self,
        actor: &Actor,
        app: &AppName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may_everywhere(Scope::Push, app)?;
        let Some(path) = body::parameter(request.uri(), "path") else {
            let problem = Problem::new(Code::BadRequest, "The query does not say which `path` is to answer again.");
            return Err(problem.hint("add it, as in `?path=/files/prices.pdf`").into());
        };
        Ok(answer::json(StatusCode::OK, &self.publisher.retention().restore(actor, app, &path).await?))
    }

    pub(super) async fn withdrawn(
        &self,
        actor: &Actor,
        app: &AppName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        // What was withdrawn is gone on the hostnames of every environment.
        actor.may_everywhere(Scope::Read, app)?;
        let page = body::page(request.uri(), "after", PAGE)?;
        Ok(answer::json(StatusCode::OK, &self.publisher.retention().withdrawn(app, &page).await?))
    }
}
