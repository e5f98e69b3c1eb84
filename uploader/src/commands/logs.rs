//! `logs`: requests of an environment as the edge answers them, and the output of its instances.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use devanture_config::api::{
    InstanceLine, LOGS_GONE_HEADER, LOGS_RESUMED_HEADER, LOGS_SINCE_HEADER, LogLine, LogLost, LogStream, LogUnavailable,
};
use devanture_config::problem::Code;
use devanture_config::text::counted;
use reqwest::header::ACCEPT;
use reqwest::{Method, RequestBuilder};

use crate::args::{LogSource, LogsArgs};
use crate::context::Context;
use crate::edge::client::{self, Refusal};
use crate::edge::events;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::{byte_text, is_written, time_text};
use crate::output::terminal::{self, escaped};

/// Longest silence of the edge, which sends a keep-alive every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const EVENT_STREAM: &str = "text/event-stream";
/// The field by which a reader of events resumes.
const LAST_EVENT_ID: &str = "last-event-id";
/// The first pause before the edge is tried again, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest time without an edge.
const AWAY_TIME_MAX: Duration = Duration::from_secs(120);

/// `logs`.
///
/// # Errors
/// The error of the edge, or `unreachable` after a lost connection.
pub(crate) async fn logs(context: &Context, args: &LogsArgs) -> Result<(), Failure> {
    let source = args.source.clone().unwrap_or(LogSource::Requests);
    if source.is_of_instances() && args.filters_requests() {
        let message = "--status, --path, --version and --method are about requests, and --source about instances.";
        return Err(Failure::new(Code::Usage, message).hint("leave one of them out"));
    }
    let requests = show(context, args, &source, false);
    if !args.shows_instances_too(context.output.is_json) {
        return requests.await;
    }
    let instances = async {
        // If the edge runs no backend, or does not allow more, requests are shown all the same.
        if show(context, args, &LogSource::AllInstances, true).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = requests => ended,
        () = instances => Ok(()),
    }
}

/// Shows the lines of one source. With `--tail` the command resumes after the last line if the edge ends the stream or
/// is lost, as during a takeover, and gives up after a while without a connection.
async fn show(context: &Context, args: &LogsArgs, source: &LogSource, is_beside: bool) -> Result<(), Failure> {
    let mut follower = Follower { context, args, source, is_beside, last_id: None, last_shown: None };
    let (mut lost_since, mut pause) = (None, PAUSE);
    loop {
        let began = Instant::now();
        match follower.follow().await {
            Ok(Followed::Done) => return Ok(()),
            Ok(Followed::Cut) => {
                lost_since = Some(Instant::now());
                if began.elapsed() > PAUSE_MAX {
                    // The edge was there: this is a new outage.
                    pause = PAUSE;
                }
                follower.note("the edge ended the stream, as it does when it is restarted: connecting again");
            }
            Err(Refusal::Final(failure)) => return Err(failure),
            Err(Refusal::Again(failure, _)) => {
                if lost_since.is_none_or(|since| since.elapsed() > AWAY_TIME_MAX) {
                    return Err(failure);
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A reader of one source, which may reconnect.
struct Follower<'a> {
    context: &'a Context,
    args: &'a LogsArgs,
    source: &'a LogSource,
    /// Set if a second reader reports the connection.
    is_beside: bool,
    /// The id of the last event.
    last_id: Option<String>,
    /// The time of the last shown line, in milliseconds since 1970 UTC.
    last_shown: Option<u64>,
}

/// The end of a stream.
enum Followed {
    /// All lines were shown, or the reader has gone, such as `head`.
    Done,
    /// The edge ended the stream, or was lost; further lines were expected.
    Cut,
}

impl Follower<'_> {
    async fn follow(&mut self) -> Result<Followed, Refusal> {
        let (context, args, is_of_instances) = (self.context, self.args, self.source.is_of_instances());
        let edge = context.edge().map_err(Refusal::Final)?;
        let request = self.request().map_err(Refusal::Final)?;
        let silent = || Failure::new(Code::Unreachable, "The edge has been silent for too long.");
        let sent = tokio::time::timeout(SILENCE_MAX, edge.send(request)).await;
        let mut response = sent.map_err(|_elapsed| Refusal::Again(silent(), None))??;
        if client::media_type(&response) != EVENT_STREAM {
            let message = "What answers does not speak of requests as an edge does.";
            let failure = Failure::new(Code::Unreachable, message);
            return Err(Refusal::Final(failure.hint("is the edge of the same version as this program?")));
        }
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let number = |name| text(name).and_then(|value| value.parse().ok());
        let missing = (number(LOGS_SINCE_HEADER), number(LOGS_GONE_HEADER));
        if is_of_instances {
            // First, since an endless stream has no end for the note.
            note_gone_lines(context, missing);
        } else if self.last_id.is_some() {
            self.note_resumed(text(LOGS_RESUMED_HEADER) != Some("true"), missing.0);
        }
        let mut parser = events::Parser::default();
        let mut has_printed = false;
        loop {
            let chunk = match tokio::time::timeout(SILENCE_MAX, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(_)) | Err(_) if args.tail => break,
                Ok(Err(error)) => return Err(Refusal::Final(edge.unreachable(&error))),
                Err(_elapsed) => return Err(Refusal::Final(silent())),
            };
            let events = parser.take(&chunk).map_err(|error| Refusal::Final(garbled(&error)))?;
            for event in events {
                has_printed = true;
                self.last_shown = at_ms(&event).or(self.last_shown);
                if !print(context, &event, is_of_instances).map_err(Refusal::Final)? {
                    return Ok(Followed::Done);
                }
            }
            self.last_id = parser.last_id().map(str::to_owned).or_else(|| self.last_id.take());
        }
        if args.tail {
            return Ok(Followed::Cut);
        }
        note_what_is_missing(context, is_of_instances, has_printed, missing.0);
        Ok(Followed::Done)
    }

    fn note(&self, text: &str) {
        if !self.is_beside {
            self.context.progress.note(text);
        }
    }

    /// Notes the missing lines after a reconnection.
    fn note_resumed(&self, is_another_edge: bool, since: Option<u64>) {
        let after = self.last_shown.map_or_else(String::new, |at_ms| format!(" after {}", time_text(at_ms)));
        let before = since.map_or_else(String::new, |at_ms| format!(" and before {}", time_text(at_ms)));
        match (is_another_edge, since) {
            (false, None) => self.note("connected again: no request is missing"),
            (false, Some(_)) => self.note(&format!("connected again: requests{after}{before} may be missing")),
            (true, _) => self.note(&format!(
                "connected to the edge that took its place: requests{after}{before} may be missing that the one before answered"
            )),
        }
    }

    fn request(&self) -> Result<RequestBuilder, Failure> {
        let (args, place) = (self.args, self.context.place()?);
        let texts = [
            ("source", self.source.is_of_instances().then(|| self.source.to_string())),
            ("tail", args.tail.then(|| "true".to_owned())),
            ("lines", args.lines.map(|lines| lines.to_string())),
            ("status", args.status.as_ref().map(ToString::to_string)),
            ("path", args.path.as_ref().map(ToString::to_string)),
            ("version", args.version.as_ref().map(ToString::to_string)),
            ("method", args.method.clone()),
        ];
        let query: Vec<(&str, &str)> =
            texts.iter().filter_map(|(name, text)| Some((*name, text.as_deref()?))).collect();
        let segments = ["environments", place.as_str(), "logs"];
        let request = self.context.edge()?.request(Method::GET, &segments, &query).header(ACCEPT, EVENT_STREAM);
        Ok(match &self.last_id {
            Some(id) => request.header(LAST_EVENT_ID, id),
            None => request,
        })
    }
}

/// The time of the line in an event.
fn at_ms(event: &events::Event) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Time {
        at_ms: u64,
    }
    serde_json::from_str::<Time>(&event.data).ok().map(|time| time.at_ms)
}

/// Says why there are no lines, or no more.
fn note_what_is_missing(context: &Context, is_of_instances: bool, has_printed: bool, missing: Option<u64>) {
    if let Some(since) = missing.filter(|_| !is_of_instances) {
        let note = format!(
            "the edge holds requests of this app since {} only: older ones made room (log_kept_bytes_max)",
            time_text(since)
        );
        context.progress.note(&note);
    } else if !has_printed {
        context.progress.note(match is_of_instances {
            true => "no line of such an instance is kept: none runs, or none wrote; --tail shows what comes",
            false => "no such request is remembered: nobody came, or the edge does not log; --tail shows who comes",
        });
    }
}

/// Notes the number of dropped older lines of instances, and the time since which lines are stored.
fn note_gone_lines(context: &Context, (since, gone): (Option<u64>, Option<u64>)) {
    let Some(since) = since else { return };
    let lines = match gone {
        Some(1) => "1 older line is gone".to_owned(),
        Some(gone) => format!("{} are gone", counted(gone, "older line")),
        None => "older lines are gone".to_owned(),
    };
    context
        .progress
        .note(&format!("{lines}: the edge holds lines of this environment's instances since {}", time_text(since)));
}

/// Prints an event. Returns true while the output has a reader.
fn print(context: &Context, event: &events::Event, is_of_instances: bool) -> Result<bool, Failure> {
    let output = context.output;
    let text = match event.name.as_str() {
        "line" | "lost" | "unavailable" if output.is_json => terminal::json(&event.data),
        "line" if is_of_instances => {
            let line: InstanceLine = serde_json::from_str(&event.data).map_err(|error| garbled(&error))?;
            let text = instance_line_text(output.style, &line);
            // A tab moves only the rest of its line.
            text.split('\t').map(terminal::line).collect::<Vec<_>>().join("\t")
        }
        "line" => {
            let line: LogLine = serde_json::from_str(&event.data).map_err(|error| garbled(&error))?;
            terminal::line(&line_text(output.style, &line))
        }
        "lost" => {
            let LogLost { lost } = serde_json::from_str(&event.data).map_err(|error| garbled(&error))?;
            let lines = format!("{} {}", counted(lost, "line"), if lost == 1 { "was" } else { "were" });
            context.progress.line(&format!("{lines} left out: they came faster than they were read"));
            return Ok(true);
        }
        "unavailable" => {
            let LogUnavailable { node, detail } = serde_json::from_str(&event.data).map_err(|error| garbled(&error))?;
            let note = format!("lines of {} are missing from now on: {}", escaped(&node), escaped(&detail));
            context.progress.note(&note);
            return Ok(true);
        }
        // A newer edge may send further events.
        _ => return Ok(true),
    };
    let mut stdout = io::stdout().lock();
    Ok(is_written(writeln!(stdout, "{text}").and_then(|()| stdout.flush())))
}

/// Formats a request for a person. A visitor's text cannot control the terminal.
fn line_text(style: Style, line: &LogLine) -> String {
    let status = match line.status {
        500.. => style.bad(&line.status.to_string()),
        400..500 => line.status.to_string(),
        _ => style.good(&line.status.to_string()),
    };
    let version = line.version.as_deref().unwrap_or("-");
    let client = line.client.map_or_else(|| "-".to_owned(), |client| client.to_string());
    let took = match line.us {
        us @ ..1_000 => format!("{us} µs"),
        us => format!("{} ms", us / 1_000),
    };
    let proxied = if line.proxied { "  proxied" } else { "" };
    let error = line.error.as_deref().map_or_else(String::new, |error| format!("  {}", escaped(error)));
    let node = line.node.as_deref().map_or_else(String::new, |node| format!("  {}", style.dim(&escaped(node))));
    format!(
        "{}{node}  {status}  {:<6}  {}  {}  {took}  {}  {}{proxied}{error}",
        time_text(line.at_ms),
        escaped(&line.method),
        escaped(&line.target),
        byte_text(line.bytes),
        escaped(version),
        client,
    )
}

/// Output of an instance for a person: time, name, and the line.
fn instance_line_text(style: Style, line: &InstanceLine) -> String {
    let mut who = format!("{}/{}", escaped(&line.node), escaped(&line.instance));
    if !line.version.is_empty() {
        // After a switch, instances of two versions may have the same name.
        who = format!("{who}@{}", escaped(&line.version));
    }
    let who = match line.stream {
        LogStream::Stdout => style.dim(&who),
        // Reports of the edge stand out among the output of the instance.
        LogStream::Edge => style.good(&who),
        LogStream::Stderr => style.bad(&who),
    };
    let text: Vec<String> = line.text.split('\t').map(escaped).collect();
    format!("{}  {who}  {}", time_text(line.at_ms), text.join("\t"))
}

fn garbled(what: &dyn std::fmt::Display) -> Failure {
    let what: String = what.to_string().chars().take(200).collect();
    Failure::new(Code::Internal, format!("The edge sent a line that cannot be read: {what}."))
        .hint("is this `devanture` of the same version as the edge?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain() -> Style {
        Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false)
    }

    #[test]
    fn a_line_shows_the_request_and_its_answer() {
        let data = r#"{"at_ms":0,"client":"203.0.113.0","protocol":"h2","host":"h","method":"GET","target":"/a?b",
            "status":200,"bytes":1200,"us":3400,"version":"4f2a91bc03de","proxied":true,
            "error":"closed"}"#;
        let line: LogLine = serde_json::from_str(data).unwrap();
        assert_eq!(
            line_text(plain(), &line),
            "1970-01-01 00:00:00 UTC  200  GET     /a?b  1.2 KB  3 ms  4f2a91bc03de  203.0.113.0  proxied  closed"
        );
        let line = LogLine { node: Some("edge-1".to_owned()), ..line };
        let text = line_text(plain(), &line);
        assert!(text.starts_with("1970-01-01 00:00:00 UTC  edge-1  200  GET"), "{text}");
    }

    #[test]
    fn a_line_of_an_instance_has_its_time_and_name() {
        let line = InstanceLine {
            at_ms: 86_400_000 + 43_384_000,
            instance: "web.2".to_owned(),
            version: "4f2a91bc03de".to_owned(),
            node: "node-1".to_owned(),
            stream: LogStream::Stderr,
            text: "a\tb \u{1b}[31mred\u{7}".to_owned(),
        };
        assert_eq!(
            instance_line_text(plain(), &line),
            "1970-01-02 12:03:04 UTC  node-1/web.2@4f2a91bc03de  a\tb \\u{1b}[31mred\\u{7}"
        );
    }

    proptest! {
        #[test]
        fn no_target_speaks_to_a_terminal(target in ".{0,40}|[\\x00-\\x1f\u{7f}-\u{9f}\u{202e}]{0,9}") {
            let shown = escaped(&target);
            prop_assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}'), "{:?}", shown);
        }
    }
}
