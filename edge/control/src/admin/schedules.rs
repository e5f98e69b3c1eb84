//! Operations on schedules: times, last runs, runs on request.

use std::sync::Arc;

use http::StatusCode;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body};

impl Admin {
    pub(super) async fn schedules(&self, call: Call) -> Answer {
        let (app, environment) = call.path.place()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().schedules.schedules(&app, &environment).await?))
    }

    pub(super) async fn run_schedule(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let ((app, environment), name) = (path.place()?, path.schedule()?);
        let dry_run = body::dry_run(request.uri())?;
        let publisher = Arc::clone(&self.publisher);
        let run = async move {
            publisher.environments().schedules.run_schedule(&actor, (&app, &environment), &name, dry_run).await
        };
        let status = if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
        Ok(answer::json(status, &self.publisher.to_its_end(run).await?))
    }
}
