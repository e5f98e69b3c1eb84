//! Operations on the version served to each visitor: canaries and pins.

use devanture_config::api::{CanaryEnd, CanaryRequest};
use http::StatusCode;

use super::answer;
use super::call::{Answer, Call};
use super::pushing::{events, switched};
use super::state::Admin;

impl Admin {
    pub(super) async fn canary(&self, call: Call) -> Answer {
        let (app, environment) = call.path.place()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.switcher().canary(&app, &environment).await?))
    }

    pub(super) async fn set_canary(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let wanted: CanaryRequest = self.json(request).await?;
        let status = self.publisher.switcher().set_canary(&actor, (&app, &environment), wanted).await?;
        Ok(answer::json(StatusCode::OK, &status))
    }

    pub(super) async fn finish_canary(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let (sink, events) = events(&request);
        let wanted: CanaryEnd = self.json_or_default(request).await?;
        let switching =
            self.publisher.switcher().finish_canary(&actor, (&app, &environment), None, &wanted, sink).await?;
        switched(switching, events).await
    }

    pub(super) async fn unpin(&self, call: Call) -> Answer {
        let (app, environment) = call.path.place()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.switcher().unpin(&call.actor, (&app, &environment)).await?))
    }

    pub(super) async fn abort_canary(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let wanted: CanaryEnd = self.json_or_default(request).await?;
        let status = self.publisher.switcher().abort_canary(&actor, (&app, &environment), &wanted).await?;
        Ok(answer::json(StatusCode::OK, &status))
    }
}
