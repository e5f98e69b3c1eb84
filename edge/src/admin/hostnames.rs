//! Operations about the hostnames of environments' own.

use devanture_config::api::Scope;
use devanture_config::hostnames::HostnameRequest;
use devanture_config::{AppName, HostPattern, PlaceName};
use http::{Request, Response, StatusCode, Uri};

use super::body::RequestBody;
use super::{Admin, Body, answer, body, bundle};
use crate::publish::{Actor, Error};

/// Hostnames on a page where nothing is said.
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
        Ok(answer::json(StatusCode::OK, &self.publisher.hostnames(app, environment, &page).await?))
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
        let dry_run = dry_run(request.uri())?;
        let (parts, incoming) = request.into_parts();
        let bytes_max = self.publisher.limits().admin_body_bytes_max;
        let wanted: HostnameRequest = body::json_or_default(&parts.headers, incoming, bytes_max).await?;
        let set = self.publisher.set_hostname(actor, app, environment, host, &wanted, dry_run).await?;
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
        let dry_run = dry_run(request.uri())?;
        let removed = self.publisher.remove_hostname(actor, app, environment, host, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &removed))
    }
}

/// Whether it is only asked what would change.
pub(super) fn dry_run(uri: &Uri) -> Result<bool, Error> {
    body::parameter(uri, "dry_run").map_or(Ok(false), |value| bundle::flag("dry_run", &value))
}
