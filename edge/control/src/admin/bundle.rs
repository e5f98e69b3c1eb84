//! Upload of a bundle in one request, with the archive as the body or as the form field `bundle`; state of a deploy.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use devanture_config::api::{BeginDeploy, DeployEvent, DeployOptions, DeployState, Scope, Source};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};
use futures_util::stream;
use http::header::{CONTENT_LENGTH, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tokio::sync::{Mutex, mpsc};

use super::body::RequestBody;
use super::call::{Answer, Call, parsed};
use super::state::Admin;
use super::{Body, answer, body};
use crate::ledger::{Actor, Error};
use crate::publish::{ArchiveIntake, ReceivedArchive, SOURCE_CHARACTERS_MAX, check_options, check_source};
use crate::switch::check_if_live;

/// Media type of a form.
pub(super) const FORM: &str = "multipart/form-data";
/// Media types of archives. The first bytes decide the actual format.
pub(super) const ARCHIVES: [&str; 10] = [
    "application/gzip",
    "application/octet-stream",
    "application/tar",
    "application/tar+gzip",
    "application/x-gtar",
    "application/x-gzip",
    "application/x-tar",
    "application/x-zip-compressed",
    "application/zip",
    "application/zstd",
];
/// Longest text of a form field or parameter.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most bytes buffered before the next part of a form is parsed.
const FORM_AHEAD_BYTES_MAX: usize = 1024 * 1024;
/// Most fields of a form.
const FIELDS_MAX: usize = 16;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Push options besides the archive or manifest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PushOptions {
    /// True to only check a manifest.
    pub(super) dry_run: bool,
    options: DeployOptions,
    source: Source,
}

impl Admin {
    /// Receives an archive and makes the version live.
    pub(super) async fn bundle(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        let (parts, incoming) = request.into_parts();
        let mut wanted = PushOptions::of_query(parts.uri.query().unwrap_or_default())?;
        check_source(&wanted.source, &self.publisher.limits())?;
        check_options(&wanted.options)?;
        if wanted.dry_run {
            let detail = "A dry run takes a manifest: what an archive holds is known once it was pushed.";
            return Err(Problem::new(Code::BadRequest, detail).hint("leave out `dry_run`").into());
        }
        let announced = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let begun = self.publisher.begin_archive(actor, app, environment, (announced, wanted.options.only)).await;
        let intake = self.publisher.note_refused(actor, (app, environment), None, begun).await?;
        let received = receive(intake, &parts, incoming, &mut wanted).await;
        let archive = self.publisher.note_refused(actor, (app, environment), None, received).await?;
        // An archive may take hours to arrive, and its token may be revoked meanwhile.
        self.credentials.check(actor).await?;
        let id = archive.deploy().to_owned();
        let PushOptions { options, source, .. } = wanted;
        check_source(&source, &self.publisher.limits())?;
        if prefers_async(&parts.headers) {
            // The task runs detached; its record reports the outcome.
            drop(self.publisher.finish_archive(archive, source, options, None));
            let mut response = answer::json(StatusCode::ACCEPTED, &self.publisher.deploy_status(app, &id).await?);
            let headers = response.headers_mut();
            let location = HeaderValue::try_from(format!("/v1/apps/{app}/deploys/{id}"));
            headers.extend(location.ok().map(|location| (LOCATION, location)));
            headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("respond-async"));
            return Ok(response);
        }
        if body::accepts_events(&parts.headers) {
            let (sink, events) = mpsc::unbounded_channel::<DeployEvent>();
            drop(self.publisher.finish_archive(archive, source, options, Some(sink)));
            return Ok(answer::events(events));
        }
        match self.publisher.finish_archive(archive, source, options, None).await {
            Ok(result) => Ok(answer::json(StatusCode::OK, &result?)),
            Err(error) => {
                tracing::error!(%error, "a deploy ended without a result");
                Err(Problem::new(Code::Internal, "The deploy ended without a result.").into())
            }
        }
    }

    /// Returns the state of a deploy.
    pub(super) async fn deploy_status(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let deploy = path.deploy();
        let status = self.publisher.deploy_status(&app, deploy).await?;
        actor.may(Scope::Read, &app, Some(&status.environment))?;
        if body::accepts_events(request.headers()) {
            return self.follow_deploy(actor, &app, deploy).await;
        }
        let mut response = answer::json(StatusCode::OK, &status);
        if matches!(status.state, DeployState::Begun | DeployState::Running) {
            // Shortest useful polling interval.
            response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Ok(response)
    }
}

async fn receive(
    mut intake: ArchiveIntake,
    parts: &Parts,
    mut incoming: RequestBody,
    wanted: &mut PushOptions,
) -> Result<ReceivedArchive, Error> {
    if body::media_type(&parts.headers).as_deref() == Some(FORM) {
        receive_form(&mut intake, &parts.headers, incoming, wanted).await?;
    } else {
        while let Some(bytes) = incoming.next().await? {
            intake.write(bytes).await?;
        }
    }
    intake.end().await
}

/// Reads a form with the archive in the field `bundle` and texts in all other fields.
async fn receive_form(
    intake: &mut ArchiveIntake,
    headers: &HeaderMap,
    incoming: RequestBody,
    wanted: &mut PushOptions,
) -> Result<(), Error> {
    let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = multer::parse_boundary(content_type.unwrap_or_default()).map_err(bad_form)?;
    let ahead = Arc::new(AtomicUsize::new(0));
    let incoming = Arc::new(Mutex::new(incoming));
    let mut form = multer::Multipart::new(form_bytes(Arc::clone(&incoming), Arc::clone(&ahead)), boundary);
    let (mut has_bundle, mut fields) = (false, 0);
    let mut names = HashSet::new();
    while let Some(mut field) = form.next_field().await.map_err(bad_form)? {
        ahead.store(0, Ordering::Relaxed);
        fields += 1;
        let name = field.name().unwrap_or_default().to_owned();
        if fields > FIELDS_MAX {
            return Err(Problem::new(Code::BadRequest, format!("The form has more than {FIELDS_MAX} fields.")).into());
        }
        if name == "bundle" {
            if has_bundle {
                return Err(Problem::new(Code::BadRequest, "The form has two fields `bundle`.").into());
            }
            has_bundle = true;
            while let Some(bytes) = field.chunk().await.map_err(bad_form)? {
                ahead.store(0, Ordering::Relaxed);
                intake.write(bytes).await?;
            }
            continue;
        }
        let mut text = Vec::new();
        while let Some(bytes) = field.chunk().await.map_err(bad_form)? {
            ahead.store(0, Ordering::Relaxed);
            text.extend_from_slice(&bytes);
            if text.len() > TEXT_BYTES_MAX {
                let detail = format!("A field of the form has more than {TEXT_BYTES_MAX} bytes.");
                return Err(Problem::new(Code::TooLarge, detail).into());
            }
        }
        let text = String::from_utf8(text)
            .map_err(|_error| Problem::new(Code::BadRequest, "A field of the form is not UTF-8."))?;
        wanted.set_text(&name, text)?;
        // The form overrides the query, but may not repeat a name.
        if let Some(name) = names.replace(name) {
            return Err(Problem::new(Code::BadRequest, format!("The form has two fields `{name}`.")).into());
        }
    }
    // Released early: the form holds the body, and the next step may wait.
    drop(form);
    // Bytes after the last part are ignored, but belong to the digest of the body.
    let mut left = FORM_AHEAD_BYTES_MAX;
    while let Some(bytes) = incoming.lock().await.next().await? {
        left = left.checked_sub(bytes.len()).ok_or_else(|| Problem::new(Code::BadRequest, "The form has no end."))?;
    }
    if has_bundle {
        return Ok(());
    }
    Err(Problem::new(Code::BadRequest, "The form has no field `bundle`.")
        .hint("send the archive as that field: `curl -F bundle=@www.zip …`")
        .into())
}

type FormError = Box<dyn std::error::Error + Send + Sync>;

/// Streams the form with bounded memory: the form parser reads all available input first, and searches for the end of a
/// part's head without a bound. `ahead` counts the bytes read since the parser's last progress.
fn form_bytes(
    incoming: Arc<Mutex<RequestBody>>,
    ahead: Arc<AtomicUsize>,
) -> impl stream::Stream<Item = Result<Bytes, FormError>> {
    stream::unfold((incoming, ahead, false), |(incoming, ahead, pause)| async move {
        if pause {
            tokio::task::yield_now().await;
        }
        let next = incoming.lock().await.next().await;
        let next = match next {
            Ok(None) => return None,
            Ok(Some(bytes)) => {
                let length = bytes.len();
                let before = ahead.fetch_add(length, Ordering::Relaxed);
                let too_much = before.saturating_add(length) > FORM_AHEAD_BYTES_MAX && before > 0;
                if too_much { Err(FormError::from("the head of a part has no end")) } else { Ok(bytes) }
            }
            Err(error) => Err(error.into()),
        };
        Some((next, (incoming, ahead, true)))
    })
}

fn bad_form(error: multer::Error) -> Error {
    if let multer::Error::StreamReadFailed(reason) = error {
        return match reason.downcast::<Error>() {
            Ok(error) => *error,
            Err(reason) => Problem::new(Code::BadRequest, format!("The form cannot be read: {reason}.")).into(),
        };
    }
    Problem::new(Code::BadRequest, format!("The form cannot be read: {error}.")).into()
}

/// RFC 7240 §4.1.
fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    preferences.any(|one| one.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("respond-async"))
}

impl PushOptions {
    /// Parses the query. An unknown parameter is refused: a typing mistake might otherwise make a push live.
    pub(super) fn of_query(query: &str) -> Result<Self, Error> {
        let mut wanted = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = body::decoded_pair(pair)?;
            let options = &mut wanted.options;
            match name.as_str() {
                "alias" => options.alias = Some(parsed(&value)?),
                "alias_expires" => options.alias_expires = Some(parsed(&value)?),
                "allow_refingerprint" => options.allow_refingerprint = body::flag_value(&name, &value)?,
                "allow_warnings" => options.allow_warnings = body::flag_value(&name, &value)?,
                "dry_run" => wanted.dry_run = body::flag_value(&name, &value)?,
                "force" => options.force = body::flag_value(&name, &value)?,
                "if_live" => {
                    check_if_live(&value)?;
                    options.if_live = Some(value);
                }
                "no_smoke" => options.no_smoke = body::flag_value(&name, &value)?,
                "no_switch" => options.no_switch = body::flag_value(&name, &value)?,
                "only" => options.only = Some(parsed(&value)?),
                "reason" => options.reason = Some(value),
                "rollout" => options.rollout = parsed(&value)?,
                "watch_s" => options.watch_s = Some(seconds(&name, &value)?),
                "with" => options.with = Some(value),
                _ => wanted.set_text(&name, value)?,
            }
        }
        Ok(wanted)
    }

    /// Fills options that the push body leaves open from the query; the body has precedence.
    pub(super) fn add_to(self, begin: &mut BeginDeploy) {
        let (options, source) = (&mut begin.options, &mut begin.source);
        options.allow_refingerprint |= self.options.allow_refingerprint;
        options.allow_warnings |= self.options.allow_warnings;
        options.force |= self.options.force;
        options.no_smoke |= self.options.no_smoke;
        options.no_switch |= self.options.no_switch;
        options.watch_s = options.watch_s.or(self.options.watch_s);
        if options.rollout.is_default() {
            options.rollout = self.options.rollout;
        }
        options.reason = options.reason.take().or(self.options.reason);
        options.if_live = options.if_live.take().or(self.options.if_live);
        options.only = options.only.or(self.options.only);
        options.with = options.with.take().or(self.options.with);
        options.alias = options.alias.take().or(self.options.alias);
        options.alias_expires = options.alias_expires.or(self.options.alias_expires);
        source.branch = source.branch.take().or(self.source.branch);
        source.ci = source.ci.take().or(self.source.ci);
        source.commit = source.commit.take().or(self.source.commit);
        source.message = source.message.take().or(self.source.message);
        source.url = source.url.take().or(self.source.url);
    }

    /// Sets an option that forms share with the query; the form has precedence.
    fn set_text(&mut self, name: &str, text: String) -> Result<(), Error> {
        let place = match name {
            "branch" => &mut self.source.branch,
            "ci" => &mut self.source.ci,
            "commit" => &mut self.source.commit,
            "message" => &mut self.source.message,
            "url" => &mut self.source.url,
            _ => {
                let shown: String = name.chars().take(100).flat_map(char::escape_debug).collect();
                return Err(Problem::new(Code::BadRequest, format!("Nothing is called `{shown}` here."))
                    .hint("the query takes no_switch, no_smoke, watch_s, rollout, reason, only, with, force, if_live, alias, alias_expires, allow_warnings, allow_refingerprint; it and a form take message, commit, branch, ci, url")
                    .into());
            }
        };
        if text.chars().count() > SOURCE_CHARACTERS_MAX {
            let detail = format!("`{name}` has more than {SOURCE_CHARACTERS_MAX} characters.");
            return Err(Problem::new(Code::BadRequest, detail).hint("say it shorter").into());
        }
        *place = Some(text).filter(|text| !text.is_empty());
        Ok(())
    }
}

/// Parses a parameter in seconds, bounded by the edge's limits.
fn seconds(name: &str, value: &str) -> Result<u64, Error> {
    let wrong = |_reason| Problem::new(Code::BadRequest, format!("`{name}` is a number of seconds."));
    Ok(value.parse().map_err(wrong)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_says_how_a_push_ends() {
        let wanted =
            PushOptions::of_query("no_switch&force=1&if_live=4f2a91&allow_warnings=false&message=a+b%21").unwrap();
        assert!(wanted.options.no_switch && wanted.options.force && !wanted.options.allow_warnings);
        assert_eq!(wanted.options.if_live.as_deref(), Some("4f2a91"));
        assert_eq!(wanted.source.message.as_deref(), Some("a b!"));
        assert_eq!(PushOptions::of_query("").unwrap(), PushOptions::default());
    }

    #[test]
    fn what_the_query_cannot_mean_is_refused() {
        let long = format!("message={}", "x".repeat(SOURCE_CHARACTERS_MAX + 1));
        for query in
            [long.as_str(), "noswitch=1", "if_live=", "if_live=xyz123", "no_switch=yes", "=", "message=%ff", "x"]
        {
            assert_eq!(PushOptions::of_query(query).unwrap_err().0.code, Code::BadRequest, "{query}");
        }
    }

    #[test]
    fn an_asynchronous_answer_is_a_preference() {
        let prefers = |values: &[&'static str]| {
            let headers = values.iter().map(|value| (PREFER, HeaderValue::from_static(value))).collect();
            prefers_async(&headers)
        };
        assert!(prefers(&["respond-async"]));
        assert!(prefers(&["wait=10", "handling=lenient, Respond-Async; x=y"]));
        assert!(!prefers(&["wait=10"]) && !prefers(&["respond-asynchronously"]) && !prefers(&[]));
    }
}
