//! Operations of what is kept: collections, deletions of apps and environments, and having them back.

use devanture_config::api::{Scope, UndeleteRequest};
use devanture_config::{AppName, PlaceName};
use http::{Request, Response, StatusCode};

use super::body::RequestBody;
use super::route::Route;
use super::{Admin, Body, answer, body};
use crate::ledger::{Actor, Error};
use crate::retention::CollectOptions;

impl Admin {
    /// Checks that the app and the environment of an address were not deleted. A caller who may not know of the app
    /// learns nothing of it here; the history of an environment is readable all the same.
    pub(super) async fn check_there(&self, actor: &Actor, path: &str, route: &Route) -> Result<(), Error> {
        let Some(rest) = path.trim_start_matches('/').strip_prefix("v1/apps/") else { return Ok(()) };
        let mut segments = rest.split('/');
        let app: Option<AppName> = segments.next().and_then(|name| name.parse().ok());
        // A deletion looks for itself: what was deleted can still be purged.
        let is_about_it = matches!(
            route,
            Route::Deleted { .. } | Route::Undelete { .. } | Route::DeleteApp { .. } | Route::DeleteEnvironment { .. }
        );
        let is_known = |app: &AppName| actor.app.as_ref().is_none_or(|own| own == app);
        let Some(app) = app.filter(|app| !is_about_it && is_known(app)) else {
            return Ok(());
        };
        let environment = match (segments.next(), segments.next()) {
            (Some("environments"), Some(name)) if !matches!(route, Route::History { .. }) => name.parse().ok(),
            _ => None,
        };
        // Of another environment a token learns not even that it was deleted; its operation refuses it.
        let environment = environment.filter(|name| actor.is_of(name));
        self.publisher.ledger().check_there(&app, environment.as_ref()).await
    }

    pub(super) async fn collect(&self, actor: &Actor, request: &Request<RequestBody>) -> Result<Response<Body>, Error> {
        actor.must_be_admin()?;
        let options = CollectOptions {
            dry_run: body::dry_run(request.uri())?,
            force: body::flag(request.uri(), "force")?,
            purge: body::flag(request.uri(), "purge")?,
        };
        if !options.dry_run {
            tracing::info!(
                who = actor.name,
                force = options.force,
                purge = options.purge,
                "a collection was asked for"
            );
        }
        Ok(answer::json(StatusCode::OK, &self.publisher.retention().collect(options).await?))
    }

    pub(super) async fn delete_app(
        &self,
        actor: &Actor,
        app: &AppName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may_everywhere(Scope::Admin, app)?;
        let dry_run = body::dry_run(request.uri())?;
        let report = match body::flag(request.uri(), "purge")? {
            true => self.publisher.retention().purge_place(actor, app, None, dry_run).await?,
            false => self.publisher.retention().delete_app(actor, app, dry_run).await?,
        };
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn delete_environment(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may_everywhere(Scope::Admin, app)?;
        let dry_run = body::dry_run(request.uri())?;
        let report = match body::flag(request.uri(), "purge")? {
            true => self.publisher.retention().purge_place(actor, app, Some(environment), dry_run).await?,
            false => self.publisher.retention().delete_environment(actor, app, environment, dry_run).await?,
        };
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn deleted(&self, actor: &Actor, app: &AppName) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, None)?;
        Ok(answer::json(StatusCode::OK, &self.publisher.retention().deleted_things(actor, app).await?))
    }

    pub(super) async fn undelete(
        &self,
        actor: &Actor,
        app: &AppName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may_everywhere(Scope::Push, app)?;
        let wanted: UndeleteRequest = self.json_or_default(request).await?;
        // An actor who may delete it may restore it.
        let needed = if wanted.version.is_some() { Scope::Push } else { Scope::Admin };
        actor.may_everywhere(needed, app)?;
        Ok(answer::json(StatusCode::OK, &self.publisher.retention().undelete(actor, app, &wanted).await?))
    }
}
