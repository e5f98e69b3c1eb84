//! Operations about pools of backends: who is a member, and members that come and go.

use devanture_config::api::{MemberRequest, Scope};
use devanture_config::{AppName, PlaceName};
use http::{Request, Response, StatusCode};

use super::body::RequestBody;
use super::route::Member;
use super::{Admin, Body, answer, body};
use crate::ledger::{Actor, Error};

impl Admin {
    pub(super) async fn upstreams(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Read, app, Some(environment))?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().upstreams(app, environment).await?))
    }

    pub(super) async fn set_member(
        &self,
        actor: &Actor,
        member: &Member,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, &member.app, Some(&member.environment))?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: MemberRequest = self.json_or_default(request).await?;
        let report = self.publisher.environments().set_member(actor, member.at(), wanted.wish, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn remove_member(
        &self,
        actor: &Actor,
        member: &Member,
        request: &Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        actor.may(Scope::Push, &member.app, Some(&member.environment))?;
        let dry_run = body::dry_run(request.uri())?;
        let report = self.publisher.environments().remove_member(actor, member.at(), dry_run).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }
}
