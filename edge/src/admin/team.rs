//! Operations of teams: aliases, locks, and what differs between versions.

use devanture_config::api::{AliasRequest, LockRequest, Scope};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};
use http::{Request, Response, StatusCode};

use super::body::RequestBody;
use super::{Admin, Body, answer, body, precondition};
use crate::ledger::{Actor, Error};
use crate::publish::DiffRequest;

/// Default number of differing files on a page.
const CHANGES: usize = 200;
/// Default number of aliases on a page.
const ALIASES: usize = 100;

impl Admin {
    pub(super) async fn aliases(
        &self,
        actor: &Actor,
        app: &AppName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, None)?;
        let page = body::page(request.uri(), "after", ALIASES)?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().aliases(actor, app, &page).await?))
    }

    pub(super) async fn alias(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &PlaceName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may_alias(Scope::Read, app, name)?;
        let (revision, alias) = self.publisher.environments().alias(actor, app, name).await?;
        precondition::record(request.headers(), revision, &alias)
    }

    pub(super) async fn set_alias(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &PlaceName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may_alias(Scope::Push, app, name)?;
        let condition = precondition::condition(request.headers())?;
        let wanted: AliasRequest = self.json(request).await?;
        let (revision, alias) = self.publisher.environments().set_alias(actor, app, name, &wanted, &condition).await?;
        precondition::record(&http::HeaderMap::new(), revision, &alias)
    }

    pub(super) async fn delete_alias(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &PlaceName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may_alias(Scope::Push, app, name)?;
        let condition = precondition::condition(request.headers())?;
        self.publisher.environments().delete_alias(actor, app, name, &condition).await?;
        Ok(answer::no_content())
    }

    pub(super) async fn lock_of(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, Some(environment))?;
        let Some((revision, lock)) = self.publisher.environments().locked(app, environment).await? else {
            let detail = format!("{environment} of the app {app} is not locked.");
            return Err(Problem::new(Code::NotFound, detail).into());
        };
        precondition::record(request.headers(), revision, &lock)
    }

    pub(super) async fn lock(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, Some(environment))?;
        let condition = precondition::condition(request.headers())?;
        let wanted: LockRequest = self.json_or_default(request).await?;
        let report = self.publisher.environments().lock(actor, app, environment, wanted, &condition).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn unlock(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, app, Some(environment))?;
        let condition = precondition::condition(request.headers())?;
        let report = self.publisher.environments().unlock(actor, app, environment, &condition).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn diff(
        &self,
        actor: &Actor,
        app: &AppName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, None)?;
        let uri = request.uri();
        let side = |name: &str| -> Result<String, Error> {
            let text = body::parameter(uri, name).filter(|text| !text.is_empty());
            text.ok_or_else(|| {
                Problem::new(Code::BadRequest, format!("The query does not say `{name}`."))
                    .hint("as in `?from=live&to=4f2a91`: `live`, an environment, an alias or a version's id")
                    .into()
            })
        };
        let environment = match body::parameter(uri, "env") {
            Some(text) => text.parse().map_err(|error| Problem::new(Code::BadRequest, format!("{error}.")))?,
            // What the token is for, where it does not see `prod`.
            None => match &actor.environment {
                Some(own) if actor.may_compare(app, &PlaceName::prod()).is_err() => own.clone(),
                _ => PlaceName::prod(),
            },
        };
        let wanted =
            DiffRequest { from: side("from")?, to: side("to")?, environment, page: body::page(uri, "after", CHANGES)? };
        Ok(answer::json(StatusCode::OK, &self.publisher.diff(actor, app, &wanted).await?))
    }
}
