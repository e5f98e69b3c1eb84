//! Logs of an environment: requests, or output of its instances, as server-sent events or as JSON lines.

use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::{
    LOGS_GONE_HEADER, LOGS_RESUMED_HEADER, LOGS_SINCE_HEADER, LogFilter, LogLost, LogUnavailable, SOURCE_INSTANCES,
    SOURCE_RELEASE, SOURCE_REQUESTS, SOURCE_SCHEDULE,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{ProcessName, ScheduleName};
use devanture_config::text::plain_text;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderName, HeaderValue};

use super::call::{Answer, Call};
use super::event_streams::EventStream;
use super::merged_logs::{Item, Merged};
use super::state::Admin;
use super::{answer, body};
use crate::access::InForce;
use crate::cluster::{LogFilters, LogsLine, LogsRequest};
use crate::ledger::Error;

/// Longest silence of a stream.
const REST_MAX: Duration = Duration::from_secs(15);
/// Default number of stored lines: for clients without `tail` …
const LINES: usize = 100;
/// … and for live readers.
const LINES_BEFORE_TAIL: usize = 10;
/// Most lines per request.
const LINES_MAX: usize = 100_000;
/// Field sent by a reconnecting event reader.
const LAST_EVENT_ID: &str = "last-event-id";
/// Longest method in a filter.
const METHOD_CHARACTERS_MAX: usize = 32;

/// Requested lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct LogsQuery {
    source: Source,
    filter: LogFilter,
    lines: Option<usize>,
    tail: bool,
}

/// Source of the lines.
#[derive(Debug, Default, PartialEq, Eq)]
enum Source {
    #[default]
    Requests,
    /// All instances.
    Instances,
    /// All instances of a process, or one instance.
    Process(String),
}

/// Format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Events,
    JsonLines,
}

impl Admin {
    pub(super) async fn logs(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let LogsQuery { source, filter, lines, tail } = LogsQuery::of_query(request.uri().query().unwrap_or_default())?;
        if !self.publisher.ledger().app_exists(&app).await? {
            let detail = format!("There is no app {app}.");
            return Err(Problem::new(Code::NotFound, detail).hint("the first push makes it").into());
        }
        let lines = lines.unwrap_or(if tail { LINES_BEFORE_TAIL } else { LINES });
        let last_id = request.headers().get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|_| tail);
        let wanted = LogsRequest {
            app,
            environment,
            source: source.word().to_owned(),
            filters: filters(&filter),
            lines,
            tail,
            last_id: last_id.map(str::to_owned),
        };
        let stream = tail.then(|| self.streams.open(&actor)).transpose()?;
        let merged = Merged::begin(&self.publisher.log_sources(), self.publisher.cluster_nodes(), wanted).await?;
        let (since_ms, gone, is_resumed) = (merged.held.since_ms, merged.held.gone, merged.held.is_resumed);
        let form = if body::accepts_events(request.headers()) { Form::Events } else { Form::JsonLines };
        let lines = match stream {
            None => lines_of(form, merged).boxed(),
            Some(place) => {
                while_in_force(lines_of(form, merged), self.credentials.in_force(actor).await, place).boxed()
            }
        };
        let mut response = answer::streamed(form.media_type(), lines);
        for (name, value) in [(LOGS_SINCE_HEADER, since_ms), (LOGS_GONE_HEADER, gone)] {
            if let Some(value) = value {
                response.headers_mut().insert(HeaderName::from_static(name), value.into());
            }
        }
        if let Some(is_resumed) = is_resumed {
            let value = HeaderValue::from_static(if is_resumed { "true" } else { "false" });
            response.headers_mut().insert(HeaderName::from_static(LOGS_RESUMED_HEADER), value);
        }
        Ok(response)
    }
}

/// Streams stored lines, then live lines, until the reader leaves or the edge stops.
fn lines_of(form: Form, merged: Merged) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(merged, move |mut merged| async move {
        let text = loop {
            match tokio::time::timeout(REST_MAX, merged.next()).await {
                Ok(item) => {
                    if let Some(text) = form.item(item?) {
                        break text;
                    }
                }
                Err(_elapsed) => break form.silence(),
            }
        };
        Some((Bytes::from(text), merged))
    })
}

/// Ends an endless stream together with its credential, and holds the stream's permit.
fn while_in_force(
    texts: impl Stream<Item = Bytes> + Send + 'static,
    in_force: InForce,
    place: EventStream,
) -> impl Stream<Item = Bytes> + Send {
    stream::unfold((Box::pin(texts), in_force, place), |(mut texts, mut in_force, place)| async move {
        let text = tokio::select! {
            text = texts.next() => text?,
            () = in_force.ended() => return None,
        };
        in_force.is_good().await.then_some((text, (texts, in_force, place)))
    })
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::JsonLines => "application/x-ndjson",
        }
    }

    fn item(self, item: Item) -> Option<String> {
        Some(match item {
            Item::Line(line) => self.line(&line),
            Item::Lost(lost) => self.text("lost", &json(&LogLost { lost })),
            Item::Position(id) => return self.position(&id),
            Item::Silent(silent) => {
                let unavailable = LogUnavailable { node: silent.node, detail: silent.reason };
                self.text("unavailable", &json(&unavailable))
            }
        })
    }

    fn line(self, line: &LogsLine) -> String {
        match self {
            Self::Events => format!("event: line\ndata: {}\nid: {}\n\n", line.json, line.id),
            Self::JsonLines => self.text("line", &line.json),
        }
    }

    /// Position in the log of the first live line: an id without an event.
    fn position(self, id: &str) -> Option<String> {
        (self == Self::Events).then(|| format!("id: {id}\n\n"))
    }

    /// JSON on one line contains no line break.
    fn text(self, name: &str, json: &str) -> String {
        match self {
            Self::Events => format!("event: {name}\ndata: {json}\n\n"),
            Self::JsonLines => format!("{json}\n"),
        }
    }

    /// Keep-alive text without content, so that intermediaries keep the connection open.
    fn silence(self) -> String {
        match self {
            Self::Events => ": nothing new\n\n".to_owned(),
            Self::JsonLines => "\n".to_owned(),
        }
    }
}

fn json(value: &impl serde::Serialize) -> String {
    plain_text::json(&serde_json::to_string(value).unwrap_or_default())
}

/// Converts a filter to the form shared by nodes.
fn filters(filter: &LogFilter) -> LogFilters {
    LogFilters {
        method: filter.method.clone(),
        path: filter.path.as_ref().map(ToString::to_string),
        status: filter.status.as_ref().map(ToString::to_string),
        version: filter.version.as_ref().map(ToString::to_string),
    }
}

impl LogsQuery {
    /// Parses the query.
    fn of_query(query: &str) -> Result<Self, Error> {
        let mut wanted = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = body::decoded_pair(pair)?;
            let bad = |why: String| Error::from(Problem::new(Code::BadRequest, format!("`{name}`: {why}.")));
            let filter = &mut wanted.filter;
            match name.as_str() {
                "lines" => {
                    let lines = value.parse().ok().filter(|lines| *lines <= LINES_MAX);
                    wanted.lines = Some(lines.ok_or_else(|| bad(format!("a number up to {LINES_MAX} is wanted")))?);
                }
                "method" => {
                    let is_token = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
                    if !is_token || value.len() > METHOD_CHARACTERS_MAX {
                        return Err(bad("this is no method".to_owned()));
                    }
                    filter.method = Some(value.to_ascii_uppercase());
                }
                "path" => filter.path = Some(value.parse().map_err(|error| bad(format!("{error}")))?),
                "source" => wanted.source = Source::of(&value).map_err(bad)?,
                "status" => filter.status = Some(value.parse().map_err(|error| bad(format!("{error}")))?),
                "tail" => wanted.tail = body::flag_value("tail", &value)?,
                "version" => filter.version = Some(value.parse().map_err(|error| bad(format!("{error}")))?),
                // The router admits no further parameter.
                _ => {}
            }
        }
        if wanted.source != Source::Requests && wanted.filter != LogFilter::default() {
            let detail = "Lines of instances have no status, path, version or method.";
            return Err(Problem::new(Code::BadRequest, detail).into());
        }
        Ok(wanted)
    }
}

impl Source {
    fn word(&self) -> &str {
        match self {
            Self::Requests => SOURCE_REQUESTS,
            Self::Instances => SOURCE_INSTANCES,
            Self::Process(name) => name,
        }
    }

    fn of(text: &str) -> Result<Self, String> {
        match text {
            SOURCE_REQUESTS => Ok(Self::Requests),
            SOURCE_INSTANCES => Ok(Self::Instances),
            // The release command runs before a switch; the command is no process, but has a log.
            SOURCE_RELEASE => Ok(Self::Process(text.to_owned())),
            name if name.strip_prefix(SOURCE_SCHEDULE).is_some_and(|name| name.parse::<ScheduleName>().is_ok()) => {
                Ok(Self::Process(name.to_owned()))
            }
            name => {
                // A process, or an instance of a process.
                let process = name.split_once('.').map_or(name, |(process, _)| process);
                let number = name.split_once('.').map_or("1", |(_, number)| number);
                process.parse::<ProcessName>().map_err(|error| error.to_string())?;
                number.parse::<u32>().map_err(|_not_one| format!("`{name}` is no instance, such as web.2"))?;
                Ok(Self::Process(name.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_says_which_lines() {
        let wanted = LogsQuery::of_query("tail&status=5xx&path=%2Fapi%2F*&version=4F2A91&method=get&lines=3").unwrap();
        assert!(wanted.tail && wanted.filter.status.unwrap().takes(503));
        assert_eq!(wanted.filter.path.unwrap().as_str(), "/api/*");
        assert_eq!((wanted.filter.method.as_deref(), wanted.lines), (Some("GET"), Some(3)));
        assert_eq!(LogsQuery::of_query("").unwrap(), LogsQuery::default());
        let long = format!("method={}", "a".repeat(33));
        let of_web = LogsQuery::of_query("source=web.2&tail").unwrap();
        assert_eq!(of_web.source, Source::Process("web.2".to_owned()));
        for query in [
            "source=Web",
            "source=web.x",
            "source=instances&status=5xx",
            "status=700",
            "path=api",
            "version=xyz",
            "method=",
            "method=G%20T",
            "lines=-1",
            &long,
        ] {
            assert_eq!(LogsQuery::of_query(query).unwrap_err().0.code, Code::BadRequest, "{query}");
        }
    }
}
