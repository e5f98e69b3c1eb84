//! Operations for teams: aliases, locks, differences between versions.

use devanture_config::PlaceName;
use devanture_config::api::{AliasPrediction, AliasRequest, LockRequest};
use devanture_config::problem::{Code, Problem};
use http::StatusCode;

use super::call::{Answer, Call, parsed};
use super::state::Admin;
use super::{answer, body, precondition};
use crate::ledger::Error;
use crate::publish::DiffRequest;

/// Default page size of differing files.
const CHANGES: usize = 200;
/// Default page size of aliases.
const ALIASES: usize = 100;

impl Admin {
    pub(super) async fn aliases(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let page = body::page(request.uri(), "after", ALIASES)?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().aliases.aliases(&actor, &app, &page).await?))
    }

    pub(super) async fn alias(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let name = path.alias()?;
        let (revision, alias) = self.publisher.environments().aliases.alias(&actor, &app, &name).await?;
        precondition::record(request.headers(), revision, &alias)
    }

    pub(super) async fn set_alias(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let name = path.alias()?;
        let condition = precondition::condition(request.headers())?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: AliasRequest = self.json(request).await?;
        if dry_run {
            let environments = self.publisher.environments();
            let prediction = environments.aliases.predict_alias(&actor, &app, &name, &wanted, &condition).await?;
            return Ok(answer::json(StatusCode::OK, &prediction));
        }
        let (revision, alias) =
            self.publisher.environments().aliases.set_alias(&actor, &app, &name, &wanted, &condition).await?;
        precondition::record(&http::HeaderMap::new(), revision, &alias)
    }

    pub(super) async fn delete_alias(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let name = path.alias()?;
        let condition = precondition::condition(request.headers())?;
        let dry_run = body::dry_run(request.uri())?;
        let previous =
            self.publisher.environments().aliases.delete_alias(&actor, &app, &name, &condition, dry_run).await?;
        if !dry_run {
            return Ok(answer::no_content());
        }
        let (previous, version, expires_ms) = (Some(previous), None, None);
        let prediction = AliasPrediction { dry_run, app, alias: name, version, previous, expires_ms, changed: true };
        Ok(answer::json(StatusCode::OK, &prediction))
    }

    pub(super) async fn lock_of(&self, call: Call) -> Answer {
        let Call { path, request, .. } = call;
        let (app, environment) = path.place()?;
        let Some((revision, lock)) = self.publisher.environments().places.locked(&app, &environment).await? else {
            let detail = format!("{environment} of the app {app} is not locked.");
            return Err(Problem::new(Code::NotFound, detail).into());
        };
        precondition::record(request.headers(), revision, &lock)
    }

    pub(super) async fn lock(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let condition = precondition::condition(request.headers())?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: LockRequest = self.json_or_default(request).await?;
        let report =
            self.publisher.environments().places.lock(&actor, &app, &environment, wanted, &condition, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn unlock(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let condition = precondition::condition(request.headers())?;
        let dry_run = body::dry_run(request.uri())?;
        let report =
            self.publisher.environments().places.unlock(&actor, &app, &environment, &condition, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn diff(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
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
            Some(text) => parsed(&text)?,
            // A token without access to `prod` compares with its own environment.
            None => match &actor.environment {
                Some(own) if actor.may_compare(&app, &PlaceName::prod()).is_err() => own.clone(),
                _ => PlaceName::prod(),
            },
        };
        let wanted =
            DiffRequest { from: side("from")?, to: side("to")?, environment, page: body::page(uri, "after", CHANGES)? };
        Ok(answer::json(StatusCode::OK, &self.publisher.diff(&actor, &app, &wanted).await?))
    }
}
