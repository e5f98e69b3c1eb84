//! Operations on upstream pools: list, addition and removal of members.

use devanture_config::api::MemberRequest;
use devanture_config::site_toml::UpstreamUrl;
use devanture_config::{AppName, PlaceName};
use http::StatusCode;

use super::call::{Answer, Call, PathParameters};
use super::state::Admin;
use super::{answer, body};
use crate::ledger::Error;
use crate::upstreams::MemberAt;

/// Member of an upstream, as named by a path.
struct Member {
    app: AppName,
    environment: PlaceName,
    name: String,
    address: UpstreamUrl,
}

impl Member {
    fn of(path: &PathParameters) -> Result<Self, Error> {
        let (app, environment) = path.place()?;
        Ok(Self { app, environment, name: path.upstream()?, address: path.address()? })
    }

    fn at(&self) -> MemberAt<'_> {
        MemberAt { app: &self.app, environment: &self.environment, name: &self.name, address: &self.address }
    }
}

impl Admin {
    pub(super) async fn upstreams(&self, call: Call) -> Answer {
        let (app, environment) = call.path.place()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().upstreams.upstreams(&app, &environment).await?))
    }

    pub(super) async fn set_member(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let member = Member::of(&path)?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: MemberRequest = self.json_or_default(request).await?;
        let report =
            self.publisher.environments().upstreams.set_member(&actor, member.at(), wanted.desired, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn remove_member(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let member = Member::of(&path)?;
        let dry_run = body::dry_run(request.uri())?;
        let report = self.publisher.environments().upstreams.remove_member(&actor, member.at(), dry_run).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }
}
