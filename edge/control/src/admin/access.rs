//! Operations on access: logins, tokens, accounts, the audit log.

use std::net::IpAddr;

use devanture_config::AppName;
use devanture_config::api::{
    DeviceRequest, DeviceTokenRequest, ExchangeRequest, LoginRequest, PasswordRequest, RefreshRequest, TokenRequest,
};
use devanture_config::problem::{Code, Problem};
use http::{Request, StatusCode, Uri};
use serde::de::DeserializeOwned;

use super::body::RequestBody;
use super::call::{Answer, Call, parsed};
use super::state::Admin;
use super::{answer, body};
use crate::access::TOKENS_PAGE;
use crate::access::trust::{self, DeviceLogin};
use crate::ledger::Error;

/// Default page size of the audit log.
const AUDIT_PAGE: usize = 50;
/// Maximum body size of a request without a token, in bytes.
pub(super) const OPEN_BODY_BYTES_MAX: u64 = 16 * 1024;

/// Bytes of an exchange besides the identity token.
const EXCHANGE_BYTES: u64 = 1_024;

impl Admin {
    pub(super) async fn login(&self, request: Request<RequestBody>, from: Option<IpAddr>) -> Answer {
        let wanted: LoginRequest = shown(request).await?;
        Ok(answer::json(StatusCode::OK, &self.credentials.login(&wanted, from).await?))
    }

    pub(super) async fn refresh(&self, request: Request<RequestBody>, from: Option<IpAddr>) -> Answer {
        let wanted: RefreshRequest = shown(request).await?;
        Ok(answer::json(StatusCode::OK, &self.credentials.refresh(&wanted.refresh_token, from).await?))
    }

    pub(super) async fn logout(&self, request: Request<RequestBody>, from: Option<IpAddr>) -> Answer {
        let wanted: RefreshRequest = shown(request).await?;
        self.credentials.logout(&wanted.refresh_token, from).await?;
        Ok(answer::no_content())
    }

    pub(super) async fn exchange_token(&self, request: Request<RequestBody>, from: Option<IpAddr>) -> Answer {
        let bytes_max = self.publisher.limits().identity_token_bytes_max.saturating_add(EXCHANGE_BYTES);
        let wanted: ExchangeRequest = shown_within(request, bytes_max, Some(trust::LENGTH_LIMIT)).await?;
        // Boxed: the future is large, and awaits network requests.
        Ok(answer::json(StatusCode::CREATED, &Box::pin(self.credentials.exchange(&wanted, from)).await?))
    }

    pub(super) async fn begin_device(&self, request: Request<RequestBody>, from: Option<IpAddr>) -> Answer {
        let _: DeviceRequest = shown(request).await?;
        Ok(answer::json(StatusCode::OK, &Box::pin(self.credentials.begin_device(from)).await?))
    }

    pub(super) async fn device_token(&self, request: Request<RequestBody>, from: Option<IpAddr>) -> Answer {
        let wanted: DeviceTokenRequest = shown(request).await?;
        Ok(match Box::pin(self.credentials.device_token(&wanted, from)).await? {
            DeviceLogin::Exchanged(exchanged) => answer::json(StatusCode::CREATED, &exchanged),
            DeviceLogin::Waiting(waiting) => answer::json(StatusCode::ACCEPTED, &waiting),
        })
    }

    pub(super) async fn create_token(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: TokenRequest = self.json(request).await?;
        if dry_run {
            return Ok(answer::json(StatusCode::OK, &self.credentials.predict_creation(&actor, wanted).await?));
        }
        self.credentials.check_token_confirmed(&actor, &wanted).await?;
        Ok(answer::json(StatusCode::CREATED, &self.credentials.create(&actor, wanted).await?))
    }

    pub(super) async fn tokens(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        let (app, limit) = (app_of(request.uri())?, body::limit(request.uri(), TOKENS_PAGE)?);
        let after = body::parameter(request.uri(), "after");
        let list = self.credentials.tokens(&actor, app.as_ref(), limit, after.as_deref()).await?;
        Ok(answer::json(StatusCode::OK, &list))
    }

    pub(super) async fn revoke_token(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let id = path.id();
        if body::dry_run(request.uri())? {
            return Ok(answer::json(StatusCode::OK, &self.credentials.predict_revocation(&actor, id).await?));
        }
        self.credentials.revoke(&actor, id).await?;
        Ok(answer::no_content())
    }

    pub(super) async fn accounts(&self, call: Call) -> Answer {
        let Call { actor, .. } = call;
        Ok(answer::json(StatusCode::OK, &self.credentials.accounts(&actor).await?))
    }

    pub(super) async fn set_password(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let name = path.account()?;
        let wanted: PasswordRequest = self.json(request).await?;
        self.credentials.set_password(&actor, &name, &wanted.password).await?;
        Ok(answer::no_content())
    }

    pub(super) async fn audit_log(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        let (app, limit) = (app_of(request.uri())?, body::limit(request.uri(), AUDIT_PAGE)?);
        let before = body::parameter(request.uri(), "before");
        let log = self.publisher.ledger().audit().page(&actor, app.as_ref(), limit, before.as_deref()).await?;
        Ok(answer::json(StatusCode::OK, &log))
    }
}

/// App named by the query.
fn app_of(uri: &Uri) -> Result<Option<AppName>, Error> {
    body::parameter(uri, "app").map(|text| parsed(&text)).transpose()
}

/// Reads the body of a request without a token. An unreadable body proves no identity: 401. A body of another media
/// type is 415: a foreign page can make a browser send `text/plain` without a preflight (Fetch §2.2.2), but not
/// `application/json`.
pub(super) async fn shown<T: DeserializeOwned>(request: Request<RequestBody>) -> Result<T, Error> {
    shown_within(request, OPEN_BODY_BYTES_MAX, None).await
}

/// Reads a body as [`shown`] does, of at most `bytes_max` bytes. The refusal of a longer body names the `limit` of
/// `edge.toml`.
async fn shown_within<T: DeserializeOwned>(
    request: Request<RequestBody>,
    bytes_max: u64,
    limit: Option<&str>,
) -> Result<T, Error> {
    let (parts, incoming) = request.into_parts();
    let is_empty = incoming.is_empty();
    let read = async {
        body::only_parameters(&parts.uri, &[])?;
        body::json(&parts.headers, incoming, bytes_max).await
    };
    read.await.map_err(|Error(problem)| match (problem.code, limit) {
        (Code::UnsupportedType, _) if !is_empty => Error(problem),
        (Code::TooLarge, Some(limit)) => problem.hint(format!("`{limit}` in edge.toml is the limit")).into(),
        _ => Problem::new(Code::Unauthenticated, format!("This does not say who you are. {}", problem.detail))
            .hint("/v1/openapi.yaml describes what is sent here")
            .into(),
    })
}
