//! Local lines of an environment's logs: answered requests, or output of instances.

use std::sync::Arc;

use devanture_config::api::{InstanceLine, LogFilter, LogLine, LogStream, SOURCE_INSTANCES, SOURCE_REQUESTS};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::plain_text;
use serde::Serialize;

use super::publisher::Publisher;
use crate::cluster::{LogFilters, LogsEvent, LogsHeld, LogsLine, LogsRequest, LogsSender};
use crate::environments::Environments;
use crate::ledger::Error;
use devanture_base::telemetry::{self, AccessLog, LinesBefore, LogEvent, LogWanted, NumberedLine};
use devanture_host::output::{self, LastLines, LineId, Logs};

/// Replaces the number in the final id of a stream before a takeover: the reader has all lines of the old process.
const ALL_OF_RUN: &str = "all";

/// Logs of the node.
pub struct LogSources {
    pub(super) access_log: AccessLog,
    pub(super) environments: Arc<Environments>,
    /// Name of the node; `None` on an edge without a cluster.
    pub(super) node: Option<String>,
}

/// Stored lines, and the live reader.
pub struct LogsBegun {
    /// Oldest first.
    pub lines: Vec<LogsLine>,
    /// Extent of the stored lines.
    pub held: LogsHeld,
    /// Live reader. Without `tail`, the reader yields nothing and only occupies one of the app's permits; a standalone
    /// edge takes no permit.
    pub reader: Option<LogsReader>,
}

/// Live reader.
pub enum LogsReader {
    /// Requests, with the names of the process and the node.
    Requests(telemetry::LogReader, String, Option<String>),
    /// Output of instances, with the name of the node.
    Instances(output::LogReader, String),
}

impl LogsReader {
    /// Returns the next line, or the number of omitted lines; `None` at the end.
    pub async fn next(&mut self) -> Option<LogsEvent> {
        Some(match self {
            Self::Requests(reader, run, node) => match reader.next().await? {
                LogEvent::Line(line) => LogsEvent::Line(request_line(&line, run, node.as_deref())),
                LogEvent::Lost(lost) => LogsEvent::Lost(lost),
            },
            Self::Instances(reader, node) => match reader.next().await? {
                output::OutputEvent::Line(line) => LogsEvent::Line(output_line(&line, node)),
                output::OutputEvent::Lost(lost) => LogsEvent::Lost(lost),
            },
        })
    }

    /// Returns the id for a reader that reconnects to the edge's successor.
    #[must_use]
    pub fn end_id(&self) -> Option<String> {
        match self {
            Self::Requests(reader, run, _) => reader.is_handed_over().then(|| format!("{run}-{ALL_OF_RUN}")),
            // Output lines are the same in the successor.
            Self::Instances(..) => None,
        }
    }
}

/// Request line with its node.
#[derive(Serialize)]
struct OfNode<'l> {
    #[serde(flatten)]
    line: &'l LogLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'l str>,
}

fn json(line: &impl Serialize) -> String {
    plain_text::json(&serde_json::to_string(line).unwrap_or_default())
}

fn request_line(line: &NumberedLine, run: &str, node: Option<&str>) -> LogsLine {
    let id = request_id(run, line.number);
    LogsLine { id, at_ms: line.at_ms, json: json(&OfNode { line: &line.line, node }) }
}

/// Returns the id of a request line: process, and number of the line.
fn request_id(run: &str, number: u64) -> String {
    format!("{run}-{number}")
}

fn output_line(line: &output::PlacedLine, node: &str) -> LogsLine {
    LogsLine { id: output_id(line.id), at_ms: line.line.at_ms, json: json(&instance_line(&line.line, node)) }
}

fn output_id(id: LineId) -> String {
    format!("{}.{}", id.at_ms, id.ordinal)
}

fn instance_line(line: &output::Line, node: &str) -> InstanceLine {
    let stream = match line.stream {
        output::LineStream::Stdout => LogStream::Stdout,
        output::LineStream::Stderr => LogStream::Stderr,
        output::LineStream::Edge => LogStream::Edge,
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

impl LogSources {
    pub(super) fn of(publisher: &Publisher) -> Self {
        let switcher = &publisher.switcher;
        Self {
            access_log: publisher.access_log().clone(),
            environments: Arc::clone(&publisher.environments),
            node: switcher.nodes.is_some().then(|| switcher.node.clone()),
        }
    }

    /// Returns the stored lines, and a live reader if requested.
    ///
    /// # Errors
    /// `too_many` readers; `busy` at the end of the edge; `bad_request` for invalid filters.
    pub async fn begin(&self, request: &LogsRequest) -> Result<LogsBegun, Error> {
        match request.source.as_str() {
            SOURCE_REQUESTS => self.requests(request),
            SOURCE_INSTANCES => self.instance_lines(request, None).await,
            name => self.instance_lines(request, Some(name)).await,
        }
    }

    /// Reads request lines: stored lines and live readers.
    fn requests(&self, request: &LogsRequest) -> Result<LogsBegun, Error> {
        let wanted = LogWanted {
            app: request.app.to_string(),
            environment: request.environment.to_string(),
            filter: filter(&request.filters)?,
        };
        let (log, node) = (&self.access_log, self.node.as_deref());
        let run = log.run();
        let named = |lines: Vec<NumberedLine>| lines.iter().map(|line| request_line(line, run, node)).collect();
        if !request.tail {
            // In a cluster, each reader costs all nodes a connection, so even a reader without `tail` takes a permit.
            let reader = match node.map(|_| log.read(wanted.clone(), LinesBefore::Last(0))) {
                None | Some(Err(telemetry::TooManyReaders::Ending)) => None,
                Some(begun) => Some(LogsReader::Requests(begun.map_err(too_many)?.reader, run.to_owned(), None)),
            };
            let lines = log.remembered(&wanted, request.lines);
            // Set if older lines were dropped to make room.
            let since_ms = if lines.len() < request.lines { log.held_since(request.app.as_str()) } else { None };
            let held = LogsHeld { since_ms, ..LogsHeld::default() };
            return Ok(LogsBegun { lines: named(lines), held, reader });
        }
        let last = request.last_id.as_deref().and_then(|id| id.rsplit_once('-'));
        let last = last.and_then(|(of, number)| match number {
            ALL_OF_RUN => Some((log.run_before() == Some(of), 0)),
            number if of == run => Some((true, number.parse().ok()?)),
            // A reader with an id of another process receives all lines of the present process.
            number => number.parse::<u64>().ok().map(|_| (false, 0)),
        });
        let before = last.map_or(LinesBefore::Last(request.lines), |(_, number)| LinesBefore::After(number));
        let begun = log.read(wanted, before).map_err(too_many)?;
        let held = LogsHeld {
            last_id: Some(request_id(run, begun.last_number)),
            is_resumed: last.map(|(follows, _)| follows),
            since_ms: begun.since_ms,
            gone: None,
        };
        let reader = LogsReader::Requests(begun.reader, run.to_owned(), self.node.clone());
        Ok(LogsBegun { lines: named(begun.lines), held, reader: Some(reader) })
    }

    /// Reads output lines of instances. Output outlives a process of the edge.
    async fn instance_lines(&self, request: &LogsRequest, name: Option<&str>) -> Result<LogsBegun, Error> {
        self.output_lines(self.environments.instances.instance_logs()?, request, name).await
    }

    /// As [`Self::instance_lines`], with `logs` of the named node.
    pub(super) async fn output_lines(
        &self,
        (logs, node): (&Logs, &str),
        request: &LogsRequest,
        name: Option<&str>,
    ) -> Result<LogsBegun, Error> {
        let (app, place) = (&request.app, request.environment.as_str());
        let last = request.last_id.as_deref().and_then(|id| id.split_once('.'));
        let last = last
            .and_then(|(at_ms, ordinal)| Some(LineId { at_ms: at_ms.parse().ok()?, ordinal: ordinal.parse().ok()? }));
        let last = last.filter(|_| request.tail);
        let followed = if request.tail || self.node.is_some() {
            let before = last.map_or(LinesBefore::Last(request.lines), LinesBefore::After);
            Some(logs.follow(app, place, name, before).await)
        } else {
            None
        };
        let (before, reader) = match followed {
            Some(Ok((before, reader))) => (before, Some(LogsReader::Instances(reader, node.to_owned()))),
            Some(Err(refused)) if request.tail || !matches!(refused, output::TooManyReaders::Ending) => {
                return Err(too_many_of_output(refused).into());
            }
            _ => (logs.last(app, place, name, request.lines).await, None),
        };
        let LastLines { lines, last_id, gone } = before;
        let held = LogsHeld {
            // An empty log also has a starting position.
            last_id: Some(output_id(last_id.unwrap_or_default())),
            is_resumed: last.map(|_| true),
            since_ms: gone.map(|gone| gone.since_ms),
            gone: gone.map(|gone| gone.lines).filter(|gone| *gone > 0),
        };
        Ok(LogsBegun { lines: lines.iter().map(|line| output_line(line, node)).collect(), held, reader })
    }

    /// Answers another node until the local node stops or the receiver is dropped.
    pub(super) async fn answer(&self, request: &LogsRequest, sender: &LogsSender) {
        let LogsBegun { lines, held, reader } = match self.begin(request).await {
            Ok(begun) => begun,
            Err(error) => {
                sender.send(&LogsEvent::Problem(error.0)).await;
                return;
            }
        };
        for line in lines {
            if !sender.send(&LogsEvent::Line(line)).await {
                return;
            }
        }
        if !sender.send(&LogsEvent::Held(held)).await {
            return;
        }
        let Some(mut reader) = reader.filter(|_| request.tail) else { return };
        while let Some(event) = reader.next().await {
            if !sender.send(&event).await {
                return;
            }
        }
        if let Some(id) = reader.end_id() {
            sender.send(&LogsEvent::Position(id)).await;
        }
    }
}

/// Converts the filter of another node, already checked by its API.
fn filter(filters: &LogFilters) -> Result<LogFilter, Error> {
    let bad = |name: &str, error: &dyn std::fmt::Display| {
        Error::from(Problem::new(Code::BadRequest, format!("`{name}`: {error}.")))
    };
    let LogFilters { method, path, status, version } = filters;
    Ok(LogFilter {
        method: method.clone(),
        path: path.as_deref().map(str::parse).transpose().map_err(|error| bad("path", &error))?,
        status: status.as_deref().map(str::parse).transpose().map_err(|error| bad("status", &error))?,
        version: version.as_deref().map(str::parse).transpose().map_err(|error| bad("version", &error))?,
    })
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

fn too_many_of_output(refused: output::TooManyReaders) -> Problem {
    match refused {
        output::TooManyReaders::Ending => ending(),
        output::TooManyReaders::OfApp(max) => too_many_of_app(max),
        output::TooManyReaders::OfEnvironment(own) => too_many_of_environment(own),
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
