//! Entity tags of records, and conditional requests (RFC 9110 §8.8.3 and §13.1). A strong tag contains the record's
//! revision; for an answer from several records, a hash of the answer follows the revision.

use devanture_config::Digest;
use devanture_config::problem::{Code, Problem};
use devanture_site::conditional::{Comparison, entity_tags, matches_any};
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use super::{Body, answer};
use crate::ledger::{Condition, Error, Expected};
use devanture_store::catalog::Revision;

/// Most tags evaluated per field.
const TAGS_MAX: usize = 64;
/// Hash characters in the tag of an answer from several records.
const HASH_CHARACTERS: usize = 16;

/// Reads the precondition of a change.
///
/// # Errors
/// `bad_request` for invalid fields.
pub(super) fn condition(headers: &HeaderMap) -> Result<Condition, Error> {
    Ok(Condition { matches: expected(headers, &IF_MATCH)?, differs: expected(headers, &IF_NONE_MATCH)? })
}

/// Refuses preconditions unsupported by an operation: an ignored precondition would let a conditional change through.
///
/// # Errors
/// `bad_request`.
pub(super) fn refuse_unknown(method: &Method, headers: &HeaderMap, takes: &[HeaderName]) -> Result<(), Error> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let unknown =
        [IF_MATCH, IF_NONE_MATCH].into_iter().find(|name| headers.contains_key(name) && !takes.contains(name));
    let Some(name) = unknown else { return Ok(()) };
    let name = if name == IF_MATCH { "If-Match" } else { "If-None-Match" };
    let detail = format!("This operation evaluates no precondition, and the request has one: `{name}`.");
    Err(Problem::new(Code::BadRequest, detail)
        .hint("leave it out; /v1/openapi.yaml says which operations take one")
        .into())
}

/// Returns a record with its tag; 304 if the client has the record.
pub(super) fn record<T: Serialize>(
    headers: &HeaderMap,
    revision: Revision,
    value: &T,
) -> Result<Response<Body>, Error> {
    tagged(headers, &format!("\"{revision}\""), answer::json(StatusCode::OK, value))
}

/// Returns an answer from several records with a tag; `revision` is the first record's, if present. Conditions of a
/// change evaluate the first record only.
pub(super) fn view<T: Serialize>(
    headers: &HeaderMap,
    revision: Option<Revision>,
    value: &T,
) -> Result<Response<Body>, Error> {
    let hash = Digest::of(&serde_json::to_vec(value).unwrap_or_default()).to_string();
    let hash: String = hash.chars().take(HASH_CHARACTERS).collect();
    tagged(headers, &format!("\"{}-{hash}\"", revision.unwrap_or(0)), answer::json(StatusCode::OK, value))
}

fn tagged(headers: &HeaderMap, tag: &str, mut response: Response<Body>) -> Result<Response<Body>, Error> {
    // Reads compare weak tags like strong tags (RFC 9110 §13.1.2).
    if values(headers, &IF_NONE_MATCH).any(|value| matches_any(value, tag, Comparison::Weak)) {
        response = answer::not_modified();
    }
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

fn values<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes)
}

fn expected(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Expected>, Error> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let (mut revisions, mut tags) = (Vec::new(), 0);
    for value in values(headers, name) {
        if value.trim_ascii() == b"*" {
            return Ok(Some(Expected::Any));
        }
        for tag in entity_tags(value).take(TAGS_MAX) {
            tags += 1;
            // Changes never match a weak tag (RFC 9110 §13.1.1), nor a tag without a record.
            revisions.extend(revision(tag.opaque).filter(|_| !tag.is_weak));
        }
    }
    if tags > 0 {
        return Ok(Some(Expected::Revisions(revisions)));
    }
    // An unreadable condition must not pass for an absent condition.
    let detail = format!("`{name}` names no entity tag.");
    Err(Problem::new(Code::BadRequest, detail).hint("it is `*`, or tags as `ETag` gave them, quotes included").into())
}

/// Returns the revision in a tag. The tag of an absent record has revision 0, used by no record.
fn revision(opaque: &[u8]) -> Option<Revision> {
    let opaque = std::str::from_utf8(opaque).ok()?.strip_prefix('"')?.strip_suffix('"')?;
    let number = opaque.split('-').next().unwrap_or_default();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn conditions_are_read_as_the_standard_writes_them() {
        let revisions = |revisions: &[Revision]| Some(Expected::Revisions(revisions.to_vec()));
        for (value, expected) in [
            ("*", Some(Expected::Any)),
            ("\"12\"", revisions(&[12])),
            ("\"12\", \"13-ab12\" , W/\"14\"", revisions(&[12, 13])),
            ("\"\"", revisions(&[])),
            ("\"other\"", revisions(&[])),
            ("\"+1\"", revisions(&[])),
        ] {
            assert_eq!(condition(&headers(&[(IF_MATCH, value)])).unwrap().matches, expected, "{value}");
            assert_eq!(condition(&headers(&[(IF_NONE_MATCH, value)])).unwrap().differs, expected, "{value}");
        }
        for bad in ["", "12", ",", "\"", "W/12"] {
            assert_eq!(condition(&headers(&[(IF_MATCH, bad)])).unwrap_err().0.code, Code::BadRequest, "{bad}");
        }
        assert_eq!(condition(&HeaderMap::new()).unwrap(), Condition::default());
    }

    #[test]
    fn a_client_that_has_a_record_learns_it() {
        let ask = |value: &'static str| {
            let response = record(&headers(&[(IF_NONE_MATCH, value)]), 12, &"x").unwrap();
            (response.status().as_u16(), response.headers()[ETAG].to_str().unwrap().to_owned())
        };
        for (value, status) in
            [("\"12\"", 304), ("W/\"12\"", 304), ("\"11\", \"12\"", 304), ("*", 304), ("\"13\"", 200)]
        {
            assert_eq!(ask(value), (status, "\"12\"".to_owned()), "{value}");
        }
    }
}
