//! Bodies of requests to the API: JSON within a limit, query parameters, streams of bytes.

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

/// Longest time that a body that nobody reads any more is still received …
const UNREAD_TIME_MAX: Duration = Duration::from_secs(5);
/// … and how much of it.
const UNREAD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The media type of a request's body, in lower case, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Checks that the body is of this media type.
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

/// Whether the client takes server-sent events.
pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("text/event-stream")
}

/// Reads a body of JSON of at most `bytes_max` bytes.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: RequestBody,
    bytes_max: u64,
) -> Result<T, Error> {
    read(&json_bytes(headers, body, bytes_max).await?)
}

/// The bytes of a body of JSON, for careful parsers.
pub(super) async fn json_bytes(headers: &HeaderMap, body: RequestBody, bytes_max: u64) -> Result<Bytes, Error> {
    check_media_type(headers, "application/json")?;
    whole(body, bytes_max).await
}

impl Admin {
    /// The JSON body of a request.
    pub(super) async fn json<T: DeserializeOwned>(&self, request: Request<RequestBody>) -> Result<T, Error> {
        let (parts, incoming) = request.into_parts();
        json(&parts.headers, incoming, self.publisher.limits().admin_body_bytes_max).await
    }

    /// As [`Admin::json`], where nothing may be said.
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
    // The limit of a rest alone is kept by a client that sends a byte now and then.
    tokio::time::timeout(time_max, whole).await.map_err(|_elapsed| {
        Problem::new(Code::BodyStalled, format!("The body did not come within {} ms.", time_max.as_millis()))
            .hint("`admin_body_ms_max` in edge.toml is the limit")
    })?
}

/// Longest time of a request's body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyTimes {
    /// Between two of its parts.
    rest: Duration,
    /// In all, where it is small enough to be read in one piece.
    whole: Duration,
}

impl BodyTimes {
    pub(super) fn of(limits: &Limits) -> Self {
        let ms = Duration::from_millis;
        Self { rest: ms(limits.admin_body_idle_ms_max), whole: ms(limits.admin_body_ms_max) }
    }
}

/// The places for large bodies that come in, shared by [`Actor::sharer`].
pub(super) type BodyPlaces = Shares<String>;

/// The body of a request.
///
/// Dropped before its end, it is still taken in for a while: a client that is busy sending may else see the end of its
/// stream, or of its connection, before it sees the answer that says why (as curl before its release 8 does in HTTP/2).
pub(super) struct RequestBody {
    incoming: Option<ApiBody>,
    times: BodyTimes,
    /// The announced digest, until its end; or why that cannot be read, which a caller who may send a body gets.
    digest: Result<Option<ContentDigest>, Error>,
    /// Who sends it, until its end.
    sender: Option<(Arc<Credentials>, Actor)>,
    places: Arc<BodyPlaces>,
}

impl RequestBody {
    /// Takes a body that may take so long, and hashes to `digest` where one was sent.
    pub(super) fn new(
        incoming: ApiBody,
        times: BodyTimes,
        digest: Result<Option<ContentDigest>, Error>,
        places: &Arc<BodyPlaces>,
    ) -> Self {
        Self { incoming: Some(incoming), times, digest, sender: None, places: Arc::clone(places) }
    }

    /// A place for what is held in memory of a large body; `None` where nothing of it is counted: on the edge's own
    /// machine, and before a login, where no body is large.
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

    /// The same from an actor whose credential has to be good still when all of it has come: a body may take its time,
    /// and a token that was revoked meanwhile does nothing more.
    pub(super) fn sent_by(mut self, credentials: &Arc<Credentials>, actor: &Actor) -> Self {
        self.sender = Some((Arc::clone(credentials), actor.clone()));
        self
    }

    /// Whether nothing comes.
    pub(super) fn is_empty(&self) -> bool {
        self.incoming.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    /// The body as it comes in, with nothing checked yet.
    ///
    /// # Errors
    /// Where it was read to its end.
    pub(super) fn unread(mut self) -> Result<ApiBody, Error> {
        self.incoming.take().ok_or_else(broken_off)
    }

    /// The next bytes; `None` at the end, once they are known to be those that were meant.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.digest.is_err() {
            std::mem::replace(&mut self.digest, Ok(None))?;
        }
        let Some(incoming) = &mut self.incoming else { return Ok(None) };
        loop {
            let frame = tokio::time::timeout(self.times.rest, incoming.frame()).await.map_err(|_elapsed| rested())?;
            let Some(frame) = frame else {
                std::mem::replace(&mut self.digest, Ok(None))?.map_or(Ok(()), ContentDigest::check)?;
                // It stays to be done where this future is dropped.
                if let Some((credentials, actor)) = &self.sender {
                    credentials.check(actor).await?;
                    self.sender = None;
                }
                return Ok(None);
            };
            // Trailers say nothing here.
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

/// The requested page of a list, by `limit` and the cursor.
///
/// # Errors
/// `bad_request`.
pub(super) fn page(uri: &Uri, cursor: &'static str, limit_default: usize) -> Result<Page, Error> {
    Page::read(parameter(uri, "limit").as_deref(), parameter(uri, cursor), cursor, limit_default)
}

/// A parameter of the query, decoded; `?name` alone is an empty one.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| decoded_pair(pair).ok());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Whether the request only asks what would change.
pub(super) fn dry_run(uri: &Uri) -> Result<bool, Error> {
    flag(uri, "dry_run")
}

/// A parameter of the query that is `true` or `false`, the default.
pub(super) fn flag(uri: &Uri, name: &'static str) -> Result<bool, Error> {
    parameter(uri, name).map_or(Ok(false), |value| flag_value(name, &value))
}

/// A boolean parameter.
pub(super) fn flag_value(name: &str, value: &str) -> Result<bool, Error> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Problem::new(Code::BadRequest, format!("`{name}` is true or false.")).into()),
    }
}

/// Checks that the query holds these parameters alone, each once at most: a mistyped `dry_run` would change what was
/// only asked about.
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

/// A number of the query, or `default` where it says none.
pub(super) fn number(uri: &Uri, name: &str, default: usize) -> Result<usize, Error> {
    let Some(text) = parameter(uri, name) else { return Ok(default) };
    text.parse()
        .map_err(|_reason| Problem::new(Code::BadRequest, format!("`{name}` must be a number, not `{text}`.")).into())
}

/// How many entries are wanted, or `default` where the query says nothing.
pub(super) fn limit(uri: &Uri, default: usize) -> Result<usize, Error> {
    match number(uri, "limit", default)? {
        0 => Err(none_wanted()),
        limit => Ok(limit),
    }
}

/// A pair of the query, `name=value` or `name`, decoded.
pub(super) fn decoded_pair(pair: &str) -> Result<(String, String), Error> {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        let text = percent_decode_str(&text).decode_utf8().map(std::borrow::Cow::into_owned);
        text.map_err(|_error| Error::from(Problem::new(Code::BadRequest, "The query is not UTF-8.")))
    };
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    Ok((decoded(name)?, decoded(value)?))
}
