//! Plain HTTP: every request is redirected to HTTPS, except for the challenges of certificate authorities.

use devanture_site::decide::with_query;
use devanture_site::target;
use http::{Method, Request, Response, StatusCode};

use super::authority::{authority, head_of, hostname};
use super::body::Body;
use super::decision::SmallAnswer;
use super::refused::Refused;
use super::{respond, well_known};
use crate::live::{Found, HostEntry, Live};

/// Answers a request that came in over plain HTTP: to the same address over HTTPS, whatever the method (308), at the
/// canonical hostname where there is one. A host that nobody here has is sent nowhere. An authority that looks for the
/// proof of a name (RFC 8555 §8.3) finds what `proof` says for a host and a path, and for a name that the edge gives
/// nothing else.
pub async fn to_https<B>(
    request: &Request<B>,
    live: &Live,
    https_port: u16,
    proof: impl AsyncFn(&str, &str) -> Option<String>,
) -> Response<Body> {
    let authority = match authority(&head_of(request)) {
        Ok(authority) => authority,
        Err(refused) => return respond::refused(refused),
    };
    let host = hostname(authority);
    if matches!(*request.method(), Method::GET | Method::HEAD)
        && let Some(proof) = proof(&host, request.uri().path()).await
    {
        return respond::typed(StatusCode::OK, respond::TEXT, proof.into());
    }
    let found = live.find(&host, |found| match found {
        Found::Nobody => None,
        // Directly to the canonical hostname: one redirect instead of two.
        Found::Place(HostEntry { canonical: Some(canonical), .. }) => Some(canonical.to_string()),
        Found::Place(_) | Found::Preview(_) | Found::Hidden(_) => Some(host.to_string()),
    });
    let Some(to) = found else { return respond::refused(Refused::UnknownHost) };
    // An authority follows redirects, also to a custom hostname, where the app would answer the challenge.
    if well_known::leads_to_edges_proof(request.uri().path(), &host, live) {
        return respond::refused(Refused::NotFound);
    }
    // The `*` of OPTIONS is no path (RFC 9112 §3.2.4).
    let path = Some(request.uri().path()).filter(|path| path.starts_with('/')).unwrap_or("/");
    let path = with_query(target::for_location(path), request.uri().query());
    let location = match https_port {
        443 => format!("https://{to}{path}"),
        port => format!("https://{to}:{port}{path}"),
    };
    respond::small(SmallAnswer::redirect(StatusCode::PERMANENT_REDIRECT, &location))
}
