//! Reading operations: app list, status, usage, history.

use devanture_config::problem::{Code, Problem};
use http::{StatusCode, Uri};

use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body, precondition};
use crate::ledger::Error;
use crate::publish::TrafficWanted;

/// Default page size of the history and of the app list.
const PAGE: usize = 50;

impl Admin {
    pub(super) async fn apps(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        let page = body::page(request.uri(), "after", PAGE)?;
        let search = body::parameter(request.uri(), "search").unwrap_or_default();
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().places.apps(&actor, &search, &page).await?))
    }

    pub(super) async fn app(&self, call: Call) -> Answer {
        let app = call.path.app()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().places.app(&call.actor, &app).await?))
    }

    pub(super) async fn status(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let with_nodes = body::flag(request.uri(), "nodes")?;
        let (revision, mut status) = self.publisher.environments().status(&actor, &app, &environment).await?;
        // Webhooks belong to the app; a token for one environment must not see webhooks.
        if actor.environment.is_none() {
            status.kept_reach = self.publisher.webhooks().with_kept_reach(status.kept_reach, &app, &environment);
        }
        if with_nodes {
            status.nodes = self.publisher.nodes_of_app(&actor, &app).await?;
        }
        precondition::view(request.headers(), revision, &status)
    }

    pub(super) async fn usage(&self, call: Call) -> Answer {
        Ok(answer::json(StatusCode::OK, &self.publisher.usage(&call.path.app()?).await?))
    }

    pub(super) async fn deploys(&self, call: Call) -> Answer {
        let Call { path, request, .. } = call;
        let (app, environment) = path.place()?;
        let page = body::page(request.uri(), "before", PAGE)?;
        Ok(answer::json(StatusCode::OK, &self.publisher.deploys(&app, &environment, &page).await?))
    }

    pub(super) async fn traffic(&self, call: Call) -> Answer {
        let Call { path, request, .. } = call;
        let (app, environment) = path.place()?;
        let wanted = TrafficWanted {
            from_ms: whole_number(request.uri(), "from", 0)?,
            to_ms: whole_number(request.uri(), "to", 0)?,
            step_s: whole_number(request.uri(), "step", 1)?,
        };
        Ok(answer::json(StatusCode::OK, &self.publisher.traffic(&app, &environment, wanted).await?))
    }

    pub(super) async fn integrity(&self, call: Call) -> Answer {
        let (app, environment) = call.path.place()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.integrity_reports(&app, &environment).await?))
    }

    pub(super) async fn history(&self, call: Call) -> Answer {
        let Call { path, request, .. } = call;
        let (app, environment) = path.place()?;
        let page = body::page(request.uri(), "before", PAGE)?;
        let history = self.publisher.ledger().history(&app, &environment, &page).await?;
        Ok(answer::json(StatusCode::OK, &history))
    }
}

/// Returns a number of the query.
fn whole_number(uri: &Uri, name: &str, least: u64) -> Result<Option<u64>, Error> {
    let Some(text) = body::parameter(uri, name) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| *number >= least);
    let wrong = || Problem::new(Code::BadRequest, format!("`{name}` is a number from {least} on."));
    Ok(Some(number.ok_or_else(wrong)?))
}
