//! Requests of an environment as they are answered, or what its instances write: server-sent events, or a line of JSON
//! each.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::{
    InstanceLine, LOGS_GONE_HEADER, LOGS_RESUMED_HEADER, LOGS_SINCE_HEADER, LogFilter, LogLost, LogStream,
    SOURCE_INSTANCES, SOURCE_RELEASE, SOURCE_REQUESTS,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::ProcessName;
use devanture_config::text::plain_text;
use devanture_config::{AppName, PlaceName};
use futures_util::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde::Serialize;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{Body, answer, body};
use crate::ledger::Error;
use crate::runner::{LastLines, LineId};
use crate::telemetry::{LinesBefore, LogEvent, LogReader, LogWanted, NumberedLine};
use crate::{runner, telemetry};

/// Longest silence of a stream.
const REST_MAX: Duration = Duration::from_secs(15);
/// Default number of remembered lines: for clients that want those alone …
const LINES: usize = 100;
/// … and for live readers.
const LINES_BEFORE_TAIL: usize = 10;
/// Most lines that may be asked for.
const LINES_MAX: usize = 100_000;
/// The field of a reader of events that comes again.
const LAST_EVENT_ID: &str = "last-event-id";
/// Stands for a number in the id that ends a stream, where another process takes over: its reader had all lines of this one.
const ALL_OF_RUN: &str = "all";
/// Longest method that may be asked for.
const METHOD_CHARACTERS_MAX: usize = 32;

/// The requested lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    source: Source,
    filter: LogFilter,
    lines: Option<usize>,
    tail: bool,
}

/// The source of the lines.
#[derive(Debug, Default, PartialEq, Eq)]
enum Source {
    #[default]
    Requests,
    /// All instances.
    Instances,
    /// Those of one process, or one of them.
    Process(String),
}

/// The live reader.
enum Reader {
    Requests(LogReader, String),
    Instances(runner::LogReader, String),
}

/// An item of a reader: a line, or how many were left out.
enum ReadItem {
    Line(NamedLine),
    Lost(u64),
}

/// A line as JSON, with the id that a reader comes again with.
struct NamedLine {
    id: String,
    json: String,
}

impl Reader {
    async fn next(&mut self) -> Option<ReadItem> {
        Some(match self {
            Self::Requests(reader, run) => match reader.next().await? {
                LogEvent::Line(line) => ReadItem::Line(request_line(&line, run)),
                LogEvent::Lost(lost) => ReadItem::Lost(lost),
            },
            Self::Instances(reader, node) => match reader.next().await? {
                runner::OutputEvent::Line(line) => ReadItem::Line(output_line(&line, node)),
                runner::OutputEvent::Lost(lost) => ReadItem::Lost(lost),
            },
        })
    }

    /// The id that a reader comes with to the edge that goes on where this one has ended.
    fn end_id(&self) -> Option<String> {
        match self {
            Self::Requests(reader, run) => reader.is_handed_over().then(|| format!("{run}-{ALL_OF_RUN}")),
            // Its lines are the same in the other edge.
            Self::Instances(..) => None,
        }
    }
}

fn json(line: &impl Serialize) -> String {
    plain_text::json(&serde_json::to_string(line).unwrap_or_default())
}

fn request_line(line: &NumberedLine, run: &str) -> NamedLine {
    NamedLine { id: request_id(run, line.number), json: json(&*line.line) }
}

/// The id of a request's line: the process, and the number of the line there.
fn request_id(run: &str, number: u64) -> String {
    format!("{run}-{number}")
}

fn output_line(line: &runner::PlacedLine, node: &str) -> NamedLine {
    NamedLine { id: output_id(line.id), json: json(&instance_line(&line.line, node)) }
}

fn output_id(id: LineId) -> String {
    format!("{}.{}", id.at_ms, id.ordinal)
}

fn instance_line(line: &runner::Line, node: &str) -> InstanceLine {
    let stream = match line.stream {
        runner::LineStream::Stdout => LogStream::Stdout,
        runner::LineStream::Stderr => LogStream::Stderr,
        runner::LineStream::Edge => LogStream::Edge,
    };
    InstanceLine {
        at_ms: line.at_ms,
        instance: line.instance.clone(),
        version: line.version.clone(),
        node: node.to_owned(),
        stream,
        text: line.text.clone(),
    }
}

/// The lines that were asked for.
struct Asked<'a> {
    lines: usize,
    tail: bool,
    /// The id of the last line that a reader had that comes again.
    last_id: Option<&'a str>,
}

/// The lines that are held, and what is missing before them.
#[derive(Default)]
struct Before {
    /// Oldest first.
    lines: Vec<NamedLine>,
    /// None without `tail`.
    reader: Option<Reader>,
    /// The id of the last line before those that come, whether or not it is wanted.
    last_id: Option<String>,
    /// Whether the lines follow those that a reader had that comes again.
    is_resumed: Option<bool>,
    /// The time of the oldest line that is held, where older ones made room that were asked for.
    since_ms: Option<u64>,
    /// Their number, where that is known.
    gone: Option<u64>,
}

/// The format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Events,
    JsonLines,
}

impl Admin {
    pub(super) async fn logs(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let Wanted { source, filter, lines, tail } = Wanted::of_query(request.uri().query().unwrap_or_default())?;
        if !self.publisher.ledger().app_exists(&app).await? {
            let detail = format!("There is no app {app}.");
            return Err(Problem::new(Code::NotFound, detail).hint("the first push makes it").into());
        }
        let lines = lines.unwrap_or(if tail { LINES_BEFORE_TAIL } else { LINES });
        let last_id = request.headers().get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|_| tail);
        let asked = Asked { lines, tail, last_id };
        let before = match source {
            Source::Requests => {
                let wanted = LogWanted { app: app.to_string(), environment: environment.to_string(), filter };
                self.requests(&app, wanted, &asked)?
            }
            Source::Instances => self.instance_lines(&app, &environment, None, &asked).await?,
            Source::Process(name) => self.instance_lines(&app, &environment, Some(&name), &asked).await?,
        };
        let (since_ms, gone, is_resumed) = (before.since_ms, before.gone, before.is_resumed);
        let form = if body::accepts_events(request.headers()) { Form::Events } else { Form::JsonLines };
        // A stream that goes on for as long as it is wanted ends with the token that opened it.
        let credentials = Arc::clone(&self.credentials);
        let is_over =
            Box::pin(async move { if tail { credentials.ended(&actor).await } else { std::future::pending().await } });
        let mut response = streamed(form, before, is_over);
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

    /// Requests: those that are remembered, and the live readers.
    fn requests(&self, app: &AppName, wanted: LogWanted, asked: &Asked<'_>) -> Result<Before, Error> {
        let log = self.publisher.access_log();
        let run = log.run();
        let named = |lines: Vec<NumberedLine>| lines.iter().map(|line| request_line(line, run)).collect();
        if !asked.tail {
            let lines = log.remembered(&wanted, asked.lines);
            // Fewer lines than there would be, had older ones not made room.
            let since_ms = if lines.len() < asked.lines { log.held_since(app.as_str()) } else { None };
            return Ok(Before { lines: named(lines), since_ms, ..Before::default() });
        }
        let last = asked.last_id.and_then(|id| id.rsplit_once('-'));
        let last = last.and_then(|(of, number)| match number {
            ALL_OF_RUN => Some((log.run_before() == Some(of), 0)),
            number if of == run => Some((true, number.parse().ok()?)),
            // All lines of this process are new to a reader that had those of another.
            number => number.parse::<u64>().ok().map(|_| (false, 0)),
        });
        let before = last.map_or(LinesBefore::Last(asked.lines), |(_, number)| LinesBefore::After(number));
        let begun = log.read(wanted, before).map_err(too_many)?;
        Ok(Before {
            lines: named(begun.lines),
            reader: Some(Reader::Requests(begun.reader, run.to_owned())),
            last_id: Some(request_id(run, begun.last_number)),
            is_resumed: last.map(|(follows, _)| follows),
            since_ms: begun.since_ms,
            gone: None,
        })
    }

    /// The output of instances, in the same manner. Its lines outlast a process of the edge.
    async fn instance_lines(
        &self,
        app: &AppName,
        environment: &PlaceName,
        name: Option<&str>,
        asked: &Asked<'_>,
    ) -> Result<Before, Error> {
        let (logs, node) = self.publisher.environments().instance_logs()?;
        let place = environment.as_str();
        let last = asked.last_id.and_then(|id| id.split_once('.'));
        let last = last
            .and_then(|(at_ms, ordinal)| Some(LineId { at_ms: at_ms.parse().ok()?, ordinal: ordinal.parse().ok()? }));
        let (before, reader) = match asked.tail {
            true => {
                let before = last.map_or(LinesBefore::Last(asked.lines), LinesBefore::After);
                let followed = logs.follow(app, place, name, before).await;
                let (before, reader) = followed.map_err(|refused| match refused {
                    runner::TooManyReaders::Ending => ending(),
                    runner::TooManyReaders::OfApp(max) => too_many_of_app(max),
                    runner::TooManyReaders::OfEnvironment(own) => too_many_of_environment(own),
                })?;
                (before, Some(Reader::Instances(reader, node.to_owned())))
            }
            false => (logs.last(app, place, name, asked.lines).await, None),
        };
        let LastLines { lines, last_id, gone } = before;
        Ok(Before {
            lines: lines.iter().map(|line| output_line(line, node)).collect(),
            reader,
            // A log without a line has a beginning too.
            last_id: Some(output_id(last_id.unwrap_or_default())),
            is_resumed: last.map(|_| true),
            since_ms: gone.map(|gone| gone.since_ms),
            gone: gone.map(|gone| gone.lines).filter(|gone| *gone > 0),
        })
    }
}

/// The lines before, and then those that come, until their reader leaves, may no longer read, or the edge ends.
fn streamed(form: Form, before: Before, is_over: impl Future<Output = ()> + Send + 'static) -> Response<Body> {
    let Before { lines, reader, last_id, .. } = before;
    // After those lines, so that a reader that was cut off among them gets the others again.
    let position = last_id.filter(|_| reader.is_some()).and_then(|id| form.position(&id));
    let begin: VecDeque<String> = lines.iter().map(|line| form.line(line)).chain(position).collect();
    let frames = stream::unfold((begin, reader), move |(mut begin, mut reader)| async move {
        let text = match begin.pop_front() {
            Some(text) => text,
            None => match tokio::time::timeout(REST_MAX, reader.as_mut()?.next()).await {
                Ok(Some(ReadItem::Line(line))) => form.line(&line),
                Ok(Some(ReadItem::Lost(lost))) => form.lost(LogLost { lost }),
                Ok(None) => reader.take()?.end_id().and_then(|id| form.position(&id))?,
                Err(_elapsed) => form.silence(),
            },
        };
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), (begin, reader)))
    });
    let media_type = match form {
        Form::Events => "text/event-stream",
        Form::JsonLines => "application/x-ndjson",
    };
    answer::with_body(StatusCode::OK, media_type, StreamBody::new(frames.take_until(is_over)).boxed_unsync())
}

impl Form {
    fn line(self, line: &NamedLine) -> String {
        match self {
            Self::Events => format!("event: line\ndata: {}\nid: {}\n\n", line.json, line.id),
            Self::JsonLines => self.text("line", &line.json),
        }
    }

    /// The place in the log where the lines that come begin: an id without an event.
    fn position(self, id: &str) -> Option<String> {
        (self == Self::Events).then(|| format!("id: {id}\n\n"))
    }

    fn lost(self, lost: LogLost) -> String {
        self.text("lost", &serde_json::to_string(&lost).unwrap_or_default())
    }

    /// JSON has no line break of its own, so that one line holds it.
    fn text(self, name: &str, json: &str) -> String {
        match self {
            Self::Events => format!("event: {name}\ndata: {json}\n\n"),
            Self::JsonLines => format!("{json}\n"),
        }
    }

    /// Something that says nothing, so that nobody on the way takes the connection for dead.
    fn silence(self) -> String {
        match self {
            Self::Events => ": nothing new\n\n".to_owned(),
            Self::JsonLines => "\n".to_owned(),
        }
    }
}

impl Wanted {
    /// Reads the query.
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
                // The address knows no other.
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
    fn of(text: &str) -> Result<Self, String> {
        match text {
            SOURCE_REQUESTS => Ok(Self::Requests),
            SOURCE_INSTANCES => Ok(Self::Instances),
            // The command that runs before a switch is no process, and has a log.
            SOURCE_RELEASE => Ok(Self::Process(text.to_owned())),
            name => {
                // A process, or one instance of it.
                let process = name.split_once('.').map_or(name, |(process, _)| process);
                let number = name.split_once('.').map_or("1", |(_, number)| number);
                process.parse::<ProcessName>().map_err(|error| error.to_string())?;
                number.parse::<u32>().map_err(|_not_one| format!("`{name}` is no instance, such as web.2"))?;
                Ok(Self::Process(name.to_owned()))
            }
        }
    }
}

fn too_many(refused: telemetry::TooManyReaders) -> Problem {
    use telemetry::TooManyReaders::{Ending, InAll, OfApp, OfEnvironment};
    match refused {
        Ending => ending(),
        InAll(max) => Problem::new(Code::TooMany, format!("{max} read logs of this edge already."))
            .hint("`log_readers_max` in edge.toml is the limit"),
        OfApp(max) => too_many_of_app(max),
        OfEnvironment(own) => too_many_of_environment(own),
    }
}

fn ending() -> Problem {
    Problem::new(Code::Busy, "The edge is about to end.").hint("try again in a moment")
}

fn too_many_of_app(max: usize) -> Problem {
    Problem::new(Code::TooMany, format!("{max} read logs of this app already."))
        .hint("`log_readers_per_app_max` in edge.toml is the limit")
}

fn too_many_of_environment(own: usize) -> Problem {
    let detail = format!("{own} read logs of this environment already, and the other environments need what is left.");
    Problem::new(Code::TooMany, detail)
        .hint("`log_readers_per_app_max` in edge.toml is the limit of an app, and half of it that of one environment")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_says_which_lines() {
        let wanted = Wanted::of_query("tail&status=5xx&path=%2Fapi%2F*&version=4F2A91&method=get&lines=3").unwrap();
        assert!(wanted.tail && wanted.filter.status.unwrap().takes(503));
        assert_eq!(wanted.filter.path.unwrap().as_str(), "/api/*");
        assert_eq!((wanted.filter.method.as_deref(), wanted.lines), (Some("GET"), Some(3)));
        assert_eq!(Wanted::of_query("").unwrap(), Wanted::default());
        let long = format!("method={}", "a".repeat(33));
        let of_web = Wanted::of_query("source=web.2&tail").unwrap();
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
            assert_eq!(Wanted::of_query(query).unwrap_err().0.code, Code::BadRequest, "{query}");
        }
    }
}
