//! Operations on passkeys and on confirmations of sessions.

use std::net::IpAddr;

use devanture_config::api::{ChallengeRequest, ConfirmRequest, Confirmations, PasskeyRequest, Purpose};
use devanture_config::problem::{Code, Problem};
use http::{HeaderMap, Method, Request, StatusCode};

use super::body::RequestBody;
use super::browser_request::{RequestHost, check_site};
use super::call::{Answer, Call};
use super::state::Admin;
use super::{Via, access, answer};
use crate::access::PasskeySite;
use crate::ledger::Error;

impl Admin {
    pub(super) async fn challenge(&self, request: Request<RequestBody>, from: Option<IpAddr>) -> Answer {
        let (headers, uri) = (request.headers().clone(), request.uri().clone());
        let wanted: ChallengeRequest = access::shown(request).await?;
        check_site(&Method::POST, &headers)?;
        let host = RequestHost::of(&headers, &uri);
        self.check_host(host.as_ref())?;
        let site = site(host.as_ref())?;
        let actor = match (wanted.purpose, from) {
            (Purpose::Login, _) | (_, None) => None,
            (_, Some(from)) => self.session_actor(&Method::POST, &headers, &uri, Via::Network(from)).await?,
        };
        if wanted.purpose != Purpose::Login && actor.is_none() {
            return Err(Problem::new(Code::Unauthenticated, "This needs the session of an account.")
                .hint("log in with an account in a browser")
                .into());
        }
        if wanted.purpose == Purpose::Register {
            // Another node may have just confirmed the session.
            self.catch_up(&Method::GET, &headers).await?;
        }
        Ok(answer::json(StatusCode::OK, &self.credentials.challenge(wanted.purpose, actor.as_ref(), &site).await?))
    }

    pub(super) async fn confirm_session(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        let site = site_of(request.headers(), &request).ok();
        let wanted: ConfirmRequest = self.json(request).await?;
        Ok(answer::json(StatusCode::OK, &self.credentials.confirm(&actor, &wanted, site.as_ref()).await?))
    }

    pub(super) async fn passkeys(&self, call: Call) -> Answer {
        Ok(answer::json(StatusCode::OK, &self.credentials.passkeys(&call.actor).await?))
    }

    pub(super) async fn add_passkey(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        let site = site_of(request.headers(), &request);
        let wanted: PasskeyRequest = self.json(request).await?;
        Ok(answer::json(StatusCode::CREATED, &self.credentials.add_passkey(&actor, &wanted, &site?).await?))
    }

    pub(super) async fn remove_passkey(&self, call: Call) -> Answer {
        self.credentials.remove_passkey(&call.actor, call.path.id()).await?;
        Ok(answer::no_content())
    }

    pub(super) async fn confirmations(&self, call: Call) -> Answer {
        let app = call.path.app()?;
        self.publisher.ledger().must_exist(&app).await?;
        Ok(answer::json(StatusCode::OK, &self.credentials.confirmations(&app).await?))
    }

    pub(super) async fn set_confirmations(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let wanted: Confirmations = self.json(request).await?;
        self.credentials.set_confirmations(&actor, &app, &wanted).await?;
        Ok(answer::json(StatusCode::OK, &wanted))
    }
}

fn site_of(headers: &HeaderMap, request: &Request<RequestBody>) -> Result<PasskeySite, Error> {
    site(RequestHost::of(headers, request.uri()).as_ref())
}

/// Origin of a request as written by its browser; the admin listener is HTTPS only.
pub(super) fn site(host: Option<&RequestHost>) -> Result<PasskeySite, Error> {
    let host = host.ok_or_else(|| Problem::new(Code::BadRequest, "The request has no hostname."))?;
    let origin = match host.port {
        None | Some(443) => format!("https://{}", host.name),
        Some(port) => format!("https://{}:{port}", host.name),
    };
    Ok(PasskeySite { rp: host.name.clone(), origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_its_port_where_that_is_not_the_default() {
        for (field, rp, origin) in [
            ("Edge.example:8444", "edge.example", "https://edge.example:8444"),
            ("edge.example:443", "edge.example", "https://edge.example"),
            ("edge.example", "edge.example", "https://edge.example"),
        ] {
            let headers = HeaderMap::from_iter([(http::header::HOST, field.parse().unwrap())]);
            let found = site(RequestHost::of(&headers, &"/".parse().unwrap()).as_ref()).unwrap();
            assert_eq!((found.rp.as_str(), found.origin.as_str()), (rp, origin));
        }
    }
}
