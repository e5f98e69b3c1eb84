//! Operations on instances: state, number, restarts.

use std::sync::Arc;

use devanture_config::api::{RestartRequest, ScaleRequest};
use http::StatusCode;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body};

impl Admin {
    pub(super) async fn instances(&self, call: Call) -> Answer {
        let (app, environment) = call.path.place()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().instances.instances(&app, &environment).await?))
    }

    pub(super) async fn scale(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: ScaleRequest = self.json(request).await?;
        let publisher = Arc::clone(&self.publisher);
        let scale =
            async move { publisher.environments().instances.scale(&actor, &app, &environment, &wanted, dry_run).await };
        Ok(answer::json(StatusCode::OK, &self.publisher.to_its_end(scale).await?))
    }

    pub(super) async fn restart(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: RestartRequest = self.json_or_default(request).await?;
        let publisher = Arc::clone(&self.publisher);
        let restart = async move {
            publisher
                .environments()
                .instances
                .restart(&actor, &app, &environment, wanted.process.as_ref(), dry_run)
                .await
        };
        Ok(answer::json(StatusCode::OK, &self.publisher.to_its_end(restart).await?))
    }
}
