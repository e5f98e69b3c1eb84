//! Operations on access to environments and previews, and on share links.

use devanture_config::PlaceName;
use devanture_config::api::ShareRequest;
use http::StatusCode;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body};
use devanture_serve::handler::{SHARE_PARAMETER, SHARE_PATH};

impl Admin {
    pub(super) async fn protections(&self, call: Call) -> Answer {
        let app = call.path.app()?;
        Ok(answer::json(
            StatusCode::OK,
            &self.publisher.environments().protection.protections(&call.actor, &app).await?,
        ))
    }

    pub(super) async fn protect(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let ((app, place), dry_run) = (path.place()?, body::dry_run(request.uri())?);
        let wanted = self.json(request).await?;
        let environments = self.publisher.environments();
        let set = environments.protection.protect(&actor, &self.credentials, (&app, &place), wanted, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &set))
    }

    pub(super) async fn shares(&self, call: Call) -> Answer {
        let app = call.path.app()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().protection.shares(&call.actor, &app).await?))
    }

    pub(super) async fn make_share(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let wanted: ShareRequest = self.json(request).await?;
        // A version or an alias belongs to no environment.
        if let Ok(environment) = wanted.target.parse::<PlaceName>() {
            self.check_chosen(&actor, (&app, &environment), "makeShare").await?;
        }
        let page = format!("{SHARE_PATH}?{SHARE_PARAMETER}");
        let environments = self.publisher.environments();
        let made = environments.protection.make_share(&actor, &self.credentials, &app, wanted, &page).await?;
        Ok(answer::json(StatusCode::CREATED, &made))
    }

    pub(super) async fn revoke_share(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, dry_run) = (path.app()?, body::dry_run(request.uri())?);
        let revoked = self.publisher.environments().protection.revoke_share(&actor, &app, path.id(), dry_run).await?;
        Ok(answer::json(StatusCode::OK, &revoked))
    }
}
