//! API request bodies: JSON within a limit, query parameters, byte streams.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use devanture_config::limits::Limits;
use devanture_config::parsing::unique_keys;
use devanture_config::problem::{Code, Problem};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Request, Uri};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::content_digest::ContentDigest;
use super::state::Admin;
use crate::access::Credentials;
use crate::cluster::ApiBody;
use crate::ledger::{Actor, Error, Page, none_wanted};
use crate::publish::{SMALL_BODY_BYTES_MAX, check_object, unreadable};
use devanture_base::fair::{Share, Shares};

/// Longest time spent draining an abandoned body …
const UNREAD_TIME_MAX: Duration = Duration::from_secs(5);
/// … and the most bytes drained.
const UNREAD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Returns the media type of a request body, in lower case, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Checks the media type of the body.
///
/// # Errors
/// `unsupported_type`.
pub(super) fn check_media_type(headers: &HeaderMap, wanted: &str) -> Result<(), Error> {
    let found = media_type(headers);
    if found.as_deref() == Some(wanted) {
        return Ok(());
    }
    let found = found.unwrap_or_else(|| "none".to_owned());
    let detail = format!("The body's media type is {found}; {wanted} is wanted.");
    Err(Problem::new(Code::UnsupportedType, detail).into())
}

/// Returns true if the client accepts server-sent events.
pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("text/event-stream")
}

/// Reads a JSON body of at most `bytes_max` bytes.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: RequestBody,
    bytes_max: u64,
) -> Result<T, Error> {
    read(&json_bytes(headers, body, bytes_max).await?)
}

/// Returns the bytes of a JSON body, for strict parsers.
pub(super) async fn json_bytes(headers: &HeaderMap, body: RequestBody, bytes_max: u64) -> Result<Bytes, Error> {
    check_media_type(headers, "application/json")?;
    whole(body, bytes_max).await
}

impl Admin {
    /// Reads the JSON body of a request.
    pub(super) async fn json<T: DeserializeOwned>(&self, request: Request<RequestBody>) -> Result<T, Error> {
        let (parts, incoming) = request.into_parts();
        json(&parts.headers, incoming, self.publisher.limits().admin_body_bytes_max).await
    }

    /// Reads a body as [`Admin::json`] does; an empty body is the default.
    pub(super) async fn json_or_default<T: DeserializeOwned + Default>(
        &self,
        request: Request<RequestBody>,
    ) -> Result<T, Error> {
        if request.body().is_empty() { Ok(T::default()) } else { self.json(request).await }
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let read = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    check_object(bytes.trim_ascii_start().first().copied())?;
    unique_keys::check(bytes).map_err(|error| unreadable(&error))?;
    Ok(read)
}

pub(super) async fn whole(mut body: RequestBody, bytes_max: u64) -> Result<Bytes, Error> {
    let limit = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let time_max = body.times.whole;
    let whole = async move {
        let (mut whole, mut place) = (BytesMut::new(), None);
        while let Some(bytes) = body.next().await? {
            if whole.len().saturating_add(bytes.len()) > limit {
                return Err(Problem::new(Code::TooLarge, format!("The body is longer than {bytes_max} bytes.")).into());
            }
            if place.is_none() && whole.len().saturating_add(bytes.len()) > SMALL_BODY_BYTES_MAX {
                place = body.place()?;
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    };
    // A limit on silence alone does not stop a client that sends a byte now and then.
    tokio::time::timeout(time_max, whole).await.map_err(|_elapsed| {
        Problem::new(Code::BodyStalled, format!("The body did not come within {} ms.", time_max.as_millis()))
            .hint("`admin_body_ms_max` in edge.toml is the limit")
    })?
}

/// Time limits of a request body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyTimes {
    /// Longest silence between two parts.
    rest: Duration,
    /// Total, for bodies read in one piece.
    whole: Duration,
}

impl BodyTimes {
    pub(super) fn of(limits: &Limits) -> Self {
        let ms = Duration::from_millis;
        Self { rest: ms(limits.admin_body_idle_ms_max), whole: ms(limits.admin_body_ms_max) }
    }
}

/// Permits for large incoming bodies, by [`Actor::sharer`].
pub(super) type BodyPlaces = Shares<String>;

/// Body of a request.
///
/// A dropped body is drained for a while: a client that is still sending might see the end of its stream or connection
/// before the response with the reason (as curl before 8.0 does in HTTP/2).
pub(super) struct RequestBody {
    incoming: Option<ApiBody>,
    times: BodyTimes,
    /// Announced digest, taken at the end of the body; or the reason for an unreadable digest, reported to an
    /// authorized caller.
    digest: Result<Option<ContentDigest>, Error>,
    /// Sender whose credential is checked at the end of the body.
    sender: Option<(Arc<Credentials>, Actor)>,
    places: Arc<BodyPlaces>,
}

impl RequestBody {
    /// Wraps a body with its time limits, and with its announced digest, if any.
    pub(super) fn new(
        incoming: ApiBody,
        times: BodyTimes,
        digest: Result<Option<ContentDigest>, Error>,
        places: &Arc<BodyPlaces>,
    ) -> Self {
        Self { incoming: Some(incoming), times, digest, sender: None, places: Arc::clone(places) }
    }

    /// Returns a permit for the memory of a large body. `None` for local clients, which are not counted, and before a
    /// login, since no login body is large.
    ///
    /// # Errors
    /// `busy`.
    fn place(&self) -> Result<Option<Share<String>>, Error> {
        let Some(sharer) = self.sender.as_ref().and_then(|(_, actor)| actor.sharer()) else { return Ok(None) };
        let place = self.places.take(&sharer).ok_or_else(|| {
            Problem::new(Code::Busy, "The edge takes no more large bodies of this app or account now.").hint(
                "try again in a moment; `admin_bodies_receiving_max` in edge.toml is the limit, and half of it for one app",
            )
        })?;
        Ok(Some(place))
    }

    /// Checks the actor's credential again at the end of the body: a slow body must not outlive the revocation of its
    /// token.
    pub(super) fn sent_by(mut self, credentials: &Arc<Credentials>, actor: &Actor) -> Self {
        self.sender = Some((Arc::clone(credentials), actor.clone()));
        self
    }

    /// Returns true for an empty body.
    pub(super) fn is_empty(&self) -> bool {
        self.incoming.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    /// Returns the raw body, before any check.
    ///
    /// # Errors
    /// Where it was read to its end.
    pub(super) fn unread(mut self) -> Result<ApiBody, Error> {
        self.incoming.take().ok_or_else(broken_off)
    }

    /// Returns the next bytes; `None` at the end, after the digest has been verified.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.digest.is_err() {
            std::mem::replace(&mut self.digest, Ok(None))?;
        }
        let Some(incoming) = &mut self.incoming else { return Ok(None) };
        loop {
            let frame = tokio::time::timeout(self.times.rest, incoming.frame()).await.map_err(|_elapsed| rested())?;
            let Some(frame) = frame else {
                std::mem::replace(&mut self.digest, Ok(None))?.map_or(Ok(()), ContentDigest::check)?;
                // Taken after the check: a dropped future leaves the check to be done.
                if let Some((credentials, actor)) = &self.sender {
                    credentials.check(actor).await?;
                    self.sender = None;
                }
                return Ok(None);
            };
            // Trailers are ignored.
            if let Ok(bytes) = frame.map_err(|_reason| broken_off())?.into_data() {
                if let Ok(Some(digest)) = &mut self.digest {
                    digest.update(&bytes);
                }
                return Ok(Some(bytes));
            }
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(mut incoming) = self.incoming.take().filter(|incoming| !incoming.is_end_stream()) else { return };
        let unread = async move {
            let mut left = UNREAD_BYTES_MAX;
            while let Some(Ok(frame)) = incoming.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let Some(rest) = left.checked_sub(length) else { break };
                left = rest;
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(UNREAD_TIME_MAX, unread));
        }
    }
}

fn rested() -> Error {
    Problem::new(Code::BodyStalled, "The request's body did not go on.")
        .hint("`admin_body_idle_ms_max` in edge.toml is how long it may rest")
        .into()
}

fn broken_off() -> Error {
    Problem::new(Code::BadRequest, "The request's body broke off.").into()
}

/// Returns the requested page of a list, from `limit` and the cursor.
///
/// # Errors
/// `bad_request`.
pub(super) fn page(uri: &Uri, cursor: &'static str, limit_default: usize) -> Result<Page, Error> {
    Page::read(parameter(uri, "limit").as_deref(), parameter(uri, cursor), cursor, limit_default)
}

/// Returns a decoded query parameter; `?name` alone is empty.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| decoded_pair(pair).ok());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Returns true for a dry run.
pub(super) fn dry_run(uri: &Uri) -> Result<bool, Error> {
    flag(uri, "dry_run")
}

/// Returns a boolean query parameter, `false` by default.
pub(super) fn flag(uri: &Uri, name: &'static str) -> Result<bool, Error> {
    parameter(uri, name).map_or(Ok(false), |value| flag_value(name, &value))
}

/// Parses a boolean parameter.
pub(super) fn flag_value(name: &str, value: &str) -> Result<bool, Error> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Problem::new(Code::BadRequest, format!("`{name}` is true or false.")).into()),
    }
}

/// Refuses unknown and repeated query parameters: a mistyped `dry_run` would apply the change.
pub(super) fn only_parameters(uri: &Uri, known: &[&str]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, _) = decoded_pair(pair)?;
        let shown: String = name.chars().take(100).flat_map(char::escape_debug).collect();
        if !known.contains(&name.as_str()) {
            let hint = match known {
                [] => "this address takes no query".to_owned(),
                known => format!("the query takes {}", known.join(", ")),
            };
            let problem = Problem::new(Code::BadRequest, format!("Nothing is called `{shown}` here."));
            return Err(problem.hint(hint).into());
        }
        if !seen.insert(name) {
            return Err(Problem::new(Code::BadRequest, format!("`{shown}` is said twice.")).into());
        }
    }
    Ok(())
}

/// Returns a number of the query, or `default`.
pub(super) fn number(uri: &Uri, name: &str, default: usize) -> Result<usize, Error> {
    let Some(text) = parameter(uri, name) else { return Ok(default) };
    text.parse()
        .map_err(|_reason| Problem::new(Code::BadRequest, format!("`{name}` must be a number, not `{text}`.")).into())
}

/// Returns the requested page size, or `default`.
pub(super) fn limit(uri: &Uri, default: usize) -> Result<usize, Error> {
    match number(uri, "limit", default)? {
        0 => Err(none_wanted()),
        limit => Ok(limit),
    }
}

/// Decodes a query pair, `name=value` or `name`.
pub(super) fn decoded_pair(pair: &str) -> Result<(String, String), Error> {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        let text = percent_decode_str(&text).decode_utf8().map(std::borrow::Cow::into_owned);
        text.map_err(|_error| Error::from(Problem::new(Code::BadRequest, "The query is not UTF-8.")))
    };
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    Ok((decoded(name)?, decoded(value)?))
}
