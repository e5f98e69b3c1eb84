//! Bodies of requests to the API: JSON within a limit, query parameters, streams of bytes.

use bytes::Bytes;
use devanture_config::problem::{Code, Problem};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::publish::Error;

/// The media type of a request's body, in lower case, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Whether the client takes server-sent events.
pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("text/event-stream")
}

/// Reads a body of JSON of at most `bytes_max` bytes.
pub(super) async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Incoming, bytes_max: u64) -> Result<T, Error> {
    let media_type = media_type(headers);
    if media_type.as_deref() != Some("application/json") {
        let found = media_type.unwrap_or_else(|| "none".to_owned());
        let detail = format!("The body's media type is {found}; application/json is wanted.");
        return Err(Problem::new(Code::UnsupportedType, detail).into());
    }
    let bytes = whole(body, bytes_max).await?;
    read(&bytes)
}

/// Reads a body of JSON, which may be left out.
pub(super) async fn json_or_default<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: Incoming,
    bytes_max: u64,
) -> Result<T, Error> {
    if hyper::body::Body::is_end_stream(&body) { Ok(T::default()) } else { json(headers, body, bytes_max).await }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::new(Code::BadRequest, format!("The body cannot be read: {error}.")).into())
}

async fn whole(body: Incoming, bytes_max: u64) -> Result<Bytes, Error> {
    let limit = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Code::TooLarge, format!("The body is longer than {bytes_max} bytes.")).into())
        }
        Err(_) => Err(broken_off()),
    }
}

/// The next bytes of a body; `None` at its end.
pub(super) async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = body.frame().await {
        // Trailers say nothing here.
        if let Ok(bytes) = frame.map_err(|_reason| broken_off())?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn broken_off() -> Error {
    Problem::new(Code::BadRequest, "The request's body broke off.").into()
}

/// A parameter of the query, decoded.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
    Some(percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
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
