//! Operations that only look: the list of apps, status, usage, history.

use http::StatusCode;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body, precondition};

/// Default number of deploys on a page of the history, and of apps on one of the list.
const PAGE: usize = 50;

impl Admin {
    pub(super) async fn apps(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        let page = body::page(request.uri(), "after", PAGE)?;
        let search = body::parameter(request.uri(), "search").unwrap_or_default();
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().apps(&actor, &search, &page).await?))
    }

    pub(super) async fn app(&self, call: Call) -> Answer {
        let app = call.path.app()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().app(&call.actor, &app).await?))
    }

    pub(super) async fn status(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let with_nodes = body::flag(request.uri(), "nodes")?;
        let (revision, mut status) = self.publisher.environments().status(&actor, &app, &environment).await?;
        if with_nodes {
            status.nodes = self.publisher.nodes_of_app(&actor, &app).await?;
        }
        precondition::view(request.headers(), revision, &status)
    }

    pub(super) async fn usage(&self, call: Call) -> Answer {
        Ok(answer::json(StatusCode::OK, &self.publisher.usage(&call.path.app()?).await?))
    }

    pub(super) async fn history(&self, call: Call) -> Answer {
        let Call { path, request, .. } = call;
        let (app, environment) = path.place()?;
        let page = body::page(request.uri(), "before", PAGE)?;
        let history = self.publisher.ledger().history(&app, &environment, &page).await?;
        Ok(answer::json(StatusCode::OK, &history))
    }
}
