//! Operations on settings and secrets of environments.

use std::sync::Arc;

use devanture_config::api::SettingsPatch;
use devanture_config::parsing::unique_keys;
use devanture_config::problem::{Code, Problem};
use devanture_site::fields;
use http::header::{ETAG, IF_MATCH};
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{Body, answer, body};
use crate::ledger::Error;
use crate::settings::etag as settings_etag;

/// Example of a change of settings.
const LOOKS_LIKE: &str = r#"it looks like {"set": {"NAME": {"value": "…", "public": true}}, "unset": ["OTHER"]}"#;

impl Admin {
    pub(super) async fn settings(&self, call: Call) -> Answer {
        let (app, environment) = call.path.place()?;
        let list = self.publisher.environments().settings.settings(&app, &environment).await?;
        Ok(tagged(answer::json(StatusCode::OK, &list), list.revision))
    }

    pub(super) async fn development_settings(&self, call: Call) -> Answer {
        let (app, environment) = call.path.place()?;
        let environments = self.publisher.environments();
        let settings = environments.settings.development_settings(&call.actor, &app, &environment).await?;
        Ok(answer::json(StatusCode::OK, &settings))
    }

    /// A caller with the right to choose the live version may choose its settings; the right to push does not suffice.
    pub(super) async fn change_settings(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let dry_run = body::dry_run(request.uri())?;
        let (parts, incoming) = request.into_parts();
        let bytes = body::json_bytes(&parts.headers, incoming, self.publisher.limits().admin_body_bytes_max).await?;
        let patch = read(&bytes)?;
        let if_match = fields::joined(parts.headers.get_all(IF_MATCH).iter().map(HeaderValue::as_bytes));
        let if_match = if_match.map(|tags| tags.to_vec());
        // New instances start with the settings, which may take longer than the client waits.
        let (publisher, credentials) = (Arc::clone(&self.publisher), Arc::clone(&self.credentials));
        let change = async move {
            let (place, condition) = ((&app, &environment), (if_match.as_deref(), dry_run));
            let still_may = credentials.check(&actor);
            publisher.environments().settings.change_settings(&actor, place, &patch, condition, still_may).await
        };
        let changed = self.publisher.to_its_end(change).await?;
        let holds = if dry_run { changed.previous } else { changed.revision };
        Ok(tagged(answer::json(StatusCode::OK, &changed), holds))
    }
}

/// Adds the entity tag, the revision in force.
fn tagged(mut response: Response<Body>, revision: u64) -> Response<Body> {
    if let Ok(etag) = HeaderValue::from_str(&settings_etag(revision)) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Parses a change. Lists are refused: the derived parser would accept a list as an object with members in order.
fn read(bytes: &[u8]) -> Result<SettingsPatch, Error> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| Error::from(unread(&error)))?;
    let settings = value.get("set").and_then(Value::as_object);
    if !value.is_object() || settings.is_some_and(|settings| !settings.values().all(Value::is_object)) {
        return Err(unlike().into());
    }
    let patch = serde_json::from_slice(bytes).map_err(|error| Error::from(unread(&error)))?;
    unique_keys::check(bytes).map_err(|error| named_twice(&error))?;
    Ok(patch)
}

/// Omits the repeated name: a misplaced secret must not be echoed.
fn named_twice(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let detail = format!("The name that ends in line {line}, column {column} of the body stands twice in its object.");
    Problem::new(Code::BadRequest, detail).hint("keep one of the two")
}

/// Reports only the position of a parser error: the parser's own message repeats input, which may be secret.
fn unread(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let detail = format!("The body cannot be read as a change of settings, from line {line}, column {column} on.");
    let code = if error.is_data() { Code::BadRequest } else { Code::BadJson };
    Problem::new(code, detail).hint(LOOKS_LIKE)
}

fn unlike() -> Problem {
    Problem::new(Code::BadRequest, "The body is no change of settings.").hint(LOOKS_LIKE)
}
