//! Operations about the hostnames of environments' own.

use devanture_config::api::Scope;
use devanture_config::hostnames::HostnameRequest;
use devanture_config::{AppName, HostPattern, PlaceName};
use http::{Request, Response, StatusCode};

use super::body::RequestBody;
use super::{Admin, Body, answer, body};
use crate::ledger::{Actor, Error};

/// Default number of hostnames on a page.
const PAGE: usize = 1_000;

impl Admin {
    pub(super) async fn hostnames(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, Some(environment))?;
        let page = body::page(request.uri(), "after", PAGE)?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().hostnames(app, environment, &page).await?))
    }

    pub(super) async fn add_hostname(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        host: &HostPattern,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, Some(environment))?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: HostnameRequest = self.json_or_default(request).await?;
        let set = self.publisher.environments().set_hostname(actor, app, environment, host, &wanted, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &set))
    }

    pub(super) async fn remove_hostname(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        host: &HostPattern,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, Some(environment))?;
        let dry_run = body::dry_run(request.uri())?;
        let removed = self.publisher.environments().remove_hostname(actor, app, environment, host, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &removed))
    }
}
