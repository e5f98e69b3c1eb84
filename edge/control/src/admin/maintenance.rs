//! Operations of maintenance: pauses, deletions, withdrawals.

use devanture_config::api::{PauseRequest, WithdrawRequest};
use devanture_config::problem::{Code, Problem};
use http::StatusCode;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body};
use crate::ledger::Error;

/// Default page size of withdrawn paths.
const PAGE: usize = 1_000;

impl Admin {
    pub(super) async fn pause(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: PauseRequest = self.json_or_default(request).await?;
        let report = self.publisher.environments().pauses.pause(&actor, &app, &environment, wanted, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn resume(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let dry_run = body::dry_run(request.uri())?;
        let report = self.publisher.environments().pauses.resume(&actor, &app, &environment, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn delete_version(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let version = path.id();
        let dry_run = body::dry_run(request.uri())?;
        match self.publisher.ledger().resolve_version(&app, version).await {
            Ok(found) if !dry_run => self.check_replaced(&actor, (&app, &found), "deleteVersion").await?,
            Ok(_) => {}
            // A deleted version can still be purged.
            Err(Error(problem)) if matches!(problem.code, Code::NotFound | Code::VersionCollected) => {}
            Err(error) => return Err(error),
        }
        let report = match body::flag(request.uri(), "purge")? {
            true => self.publisher.retention().purge_version(&actor, &app, version, dry_run).await?,
            false => self.publisher.retention().delete_version(&actor, &app, version, dry_run).await?,
        };
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn withdraw(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: WithdrawRequest = self.json(request).await?;
        let report = self.publisher.retention().withdraw(&actor, &app, &wanted, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn restore(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let Some(path) = body::parameter(request.uri(), "path") else {
            let problem = Problem::new(Code::BadRequest, "The query does not say which `path` is to answer again.");
            return Err(problem.hint("add it, as in `?path=/files/prices.pdf`").into());
        };
        let dry_run = body::dry_run(request.uri())?;
        Ok(answer::json(StatusCode::OK, &self.publisher.retention().restore(&actor, &app, &path, dry_run).await?))
    }

    pub(super) async fn withdrawn(&self, call: Call) -> Answer {
        let Call { path, request, .. } = call;
        let app = path.app()?;
        // Withdrawn paths are unavailable on the hostnames of every environment.
        let page = body::page(request.uri(), "after", PAGE)?;
        Ok(answer::json(StatusCode::OK, &self.publisher.retention().withdrawn(&app, &page).await?))
    }
}
