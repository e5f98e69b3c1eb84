//! Operations of retention: collections; deletions and restorations of apps and environments.

use devanture_config::PlaceName;
use devanture_config::api::{ConfirmedAction, Scope, UndeleteRequest};
use http::StatusCode;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body};
use crate::retention::CollectOptions;

impl Admin {
    pub(super) async fn collect(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
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

    pub(super) async fn delete_app(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let dry_run = body::dry_run(request.uri())?;
        let report = match body::flag(request.uri(), "purge")? {
            true => self.publisher.retention().purge_place(&actor, &app, None, dry_run).await?,
            false => self.publisher.retention().delete_app(&actor, &app, dry_run).await?,
        };
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn delete_environment(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let dry_run = body::dry_run(request.uri())?;
        let report = match body::flag(request.uri(), "purge")? {
            true => self.publisher.retention().purge_place(&actor, &app, Some(&environment), dry_run).await?,
            false => self.publisher.retention().delete_environment(&actor, &app, &environment, dry_run).await?,
        };
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn deleted(&self, call: Call) -> Answer {
        let Call { actor, path, .. } = call;
        let app = path.app()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.retention().deleted_things(&actor, &app).await?))
    }

    pub(super) async fn undelete(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        actor.may_everywhere(Scope::Push, &app)?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: UndeleteRequest = self.json_or_default(request).await?;
        // The right to delete includes the right to restore.
        let needed = if wanted.version.is_some() { Scope::Push } else { Scope::Admin };
        actor.may_everywhere(needed, &app)?;
        // A restored live version of `prod`.
        let is_of_prod = wanted.environment.as_ref().is_none_or(PlaceName::is_prod);
        if !dry_run && wanted.version.is_none() && is_of_prod {
            self.credentials.check_confirmed(&actor, &app, Some(ConfirmedAction::Promote)).await?;
        }
        if !dry_run && wanted.version.is_some() {
            let foreseen = self.publisher.retention().undelete(&actor, &app, &wanted, true).await?;
            if let Some(version) = foreseen.version {
                self.check_replaced(&actor, (&app, &version), "undelete").await?;
            }
        }
        let report = self.publisher.retention().undelete(&actor, &app, &wanted, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }
}
