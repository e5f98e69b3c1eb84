//! Operations that only look: status, history.

use http::StatusCode;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body, precondition};

/// Default number of deploys on a page of the history.
const PAGE: usize = 50;

impl Admin {
    pub(super) async fn status(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let (revision, status) = self.publisher.environments().status(&actor, &app, &environment).await?;
        precondition::view(request.headers(), revision, &status)
    }

    pub(super) async fn history(&self, call: Call) -> Answer {
        let Call { path, request, .. } = call;
        let (app, environment) = path.place()?;
        let page = body::page(request.uri(), "before", PAGE)?;
        let history = self.publisher.ledger().history(&app, &environment, &page).await?;
        Ok(answer::json(StatusCode::OK, &history))
    }
}
