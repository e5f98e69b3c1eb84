//! Tests of a node's log lines: resumed readers, missing lines, lines sent to other nodes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{LogLine, SOURCE_INSTANCES, SOURCE_REQUESTS};
use devanture_config::edge_toml::LogAddresses;
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName};

use super::publisher;
use crate::cluster::{LogFilters, LogsEvent, LogsLine, LogsRequest, LogsSender};
use crate::publish::{LogSources, Publisher};
use devanture_base::telemetry::{AccessLog, LineForm, LogOutput, LogSettings};
use devanture_host::output::{Line, LineStream, Logs};

/// Longest wait for lines to be written.
const LONG: Duration = Duration::from_secs(30);

/// Node that answers requests of one app.
struct World {
    _folder: tempfile::TempDir,
    publisher: Publisher,
    log: AccessLog,
}

const SETTINGS: LogSettings = LogSettings {
    addresses: LogAddresses::None,
    queries: false,
    lines_max: 1_000,
    readers_max: 8,
    readers_per_app_max: 4,
    reader_lines_max: 64,
    kept_bytes_max: 100_000,
    kept_apps_max: 2,
};

fn shop() -> AppName {
    "shop".parse().unwrap()
}

impl World {
    fn new(settings: LogSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (publisher, _catalog) = publisher(folder.path());
        // No line is kept in memory without a written line.
        let output = LogOutput {
            form: LineForm::Json,
            writer: Box::new(std::io::sink()),
            open: Box::new(|| Ok(Box::new(std::io::sink()))),
        };
        Self { _folder: folder, publisher, log: AccessLog::new(settings, Some(output)) }
    }

    /// Logs of a cluster node, or of a standalone edge.
    fn sources(&self, node: Option<&str>) -> LogSources {
        LogSources {
            access_log: self.log.clone(),
            environments: Arc::clone(&self.publisher.environments),
            node: node.map(str::to_owned),
        }
    }

    /// Answers requests of the targets.
    fn answer(&self, targets: &[&str]) {
        for target in targets {
            self.log.write(Box::new(LogLine {
                at_ms: 1,
                client: None,
                protocol: "h2".to_owned(),
                host: "shop.localhost".to_owned(),
                method: "GET".to_owned(),
                target: (*target).to_owned(),
                status: 200,
                bytes: 0,
                us: 0,
                referer: None,
                user_agent: None,
                app: Some("shop".to_owned()),
                environment: Some("prod".to_owned()),
                version: None,
                proxied: false,
                request_id: None,
                upstream: None,
                error: None,
                node: None,
            }));
        }
        self.log.flush(LONG);
    }
}

fn request(source: &str, tail: bool) -> LogsRequest {
    LogsRequest {
        app: shop(),
        environment: PlaceName::prod(),
        source: source.to_owned(),
        filters: LogFilters::default(),
        lines: 100,
        tail,
        last_id: None,
    }
}

/// Target and node of a line.
fn shown(line: &LogsLine) -> (String, Option<String>) {
    let line: serde_json::Value = serde_json::from_str(&line.json).unwrap();
    (line["target"].as_str().unwrap().to_owned(), line["node"].as_str().map(str::to_owned))
}

fn targets(lines: &[LogsLine]) -> Vec<String> {
    lines.iter().map(|line| shown(line).0).collect()
}

/// Line numbers restart with every process: a number of another process is meaningless here.
#[tokio::test]
async fn a_reader_that_comes_again_gets_what_it_had_not_whichever_process_it_had_read() {
    let world = World::new(SETTINGS);
    world.log.follow_run("before".to_owned());
    let all = ["/1", "/2", "/3"];
    world.answer(&all);
    let (sources, run) = (world.sources(None), world.log.run().to_owned());
    for (id, expected, is_resumed) in [
        (None, &all[..], None),
        (Some(format!("{run}-2")), &all[2..], Some(true)),
        (Some(format!("{run}-3")), &[], Some(true)),
        (Some("before-all".to_owned()), &all, Some(true)),
        (Some("elder-all".to_owned()), &all, Some(false)),
        (Some("before-2".to_owned()), &all, Some(false)),
        (Some("before-x".to_owned()), &all, None),
        (Some("nonsense".to_owned()), &all, None),
    ] {
        let request = LogsRequest { last_id: id.clone(), ..request(SOURCE_REQUESTS, true) };
        let begun = sources.begin(&request).await.unwrap();
        assert_eq!(targets(&begun.lines), expected, "{id:?}");
        assert_eq!(begun.held.is_resumed, is_resumed, "{id:?}");
        assert_eq!(begun.held.last_id, Some(format!("{run}-3")), "{id:?}");
    }
}

#[tokio::test]
async fn lines_that_made_room_are_reported_to_those_alone_who_would_have_got_them() {
    let world = World::new(LogSettings { kept_bytes_max: 2_000, ..SETTINGS });
    world.answer(&["/"; 50]);
    let sources = world.sources(None);
    for tail in [false, true] {
        let all = sources.begin(&request(SOURCE_REQUESTS, tail)).await.unwrap();
        let held = all.lines.len();
        assert!(held > 0 && held < 50, "{held}");
        assert_eq!(all.held.since_ms, Some(1), "{tail}");
        drop(all);
        let fewer = LogsRequest { lines: held, ..request(SOURCE_REQUESTS, tail) };
        let fewer = sources.begin(&fewer).await.unwrap();
        assert_eq!((fewer.lines.len(), fewer.held.since_ms), (held, None), "{tail}");
    }
}

/// In a cluster each reader costs all nodes a connection, so even a reader without `tail` takes a permit.
#[tokio::test]
async fn requests_that_are_held_cost_a_place_in_a_cluster_and_are_shown_by_an_edge_that_ends() {
    let full = World::new(LogSettings { readers_per_app_max: 0, ..SETTINGS });
    let ends = World::new(SETTINGS);
    full.answer(&["/"]);
    ends.answer(&["/"]);
    ends.log.end_readers();
    for (world, node, tail, refused) in [
        (&full, None, false, None),
        (&full, None, true, Some(Code::TooMany)),
        (&full, Some("edge-1"), false, Some(Code::TooMany)),
        (&full, Some("edge-1"), true, Some(Code::TooMany)),
        (&ends, None, false, None),
        (&ends, None, true, Some(Code::Busy)),
        (&ends, Some("edge-1"), false, None),
        (&ends, Some("edge-1"), true, Some(Code::Busy)),
    ] {
        match world.sources(node).begin(&request(SOURCE_REQUESTS, tail)).await {
            Ok(begun) => assert_eq!((begun.lines.len(), begun.reader.is_some(), refused), (1, false, None)),
            Err(error) => assert_eq!(Some(error.0.code), refused, "{node:?} {tail}"),
        }
    }
}

#[tokio::test]
async fn another_node_is_sent_what_is_held_then_what_comes_and_the_place_where_the_next_process_goes_on() {
    let world = World::new(SETTINGS);
    world.answer(&["/held"]);
    let (sources, run) = (world.sources(Some("edge-2")), world.log.run().to_owned());
    let (sender, mut sent) = LogsSender::to_here();
    // The sender is dropped at the end of the answer.
    let answering = async move { sources.answer(&request(SOURCE_REQUESTS, true), &sender).await };
    let reading = async {
        let Some(LogsEvent::Line(line)) = sent.next().await else { panic!("a line is held") };
        assert_eq!(
            (line.id.clone(), shown(&line)),
            (format!("{run}-1"), ("/held".to_owned(), Some("edge-2".to_owned())))
        );
        let Some(LogsEvent::Held(held)) = sent.next().await else { panic!("those were all") };
        assert_eq!(held.last_id, Some(format!("{run}-1")));
        world.answer(&["/comes"]);
        let Some(LogsEvent::Line(line)) = sent.next().await else { panic!("a line comes") };
        assert_eq!((line.id.clone(), shown(&line).0), (format!("{run}-2"), "/comes".to_owned()));
        let _next_process = world.log.end_readers_for_one();
        assert_eq!(sent.next().await, Some(LogsEvent::Position(format!("{run}-all"))));
        assert_eq!(sent.next().await, None);
    };
    tokio::join!(answering, reading);
}

#[tokio::test]
async fn another_node_that_wants_what_is_held_is_sent_no_more_and_one_that_is_refused_learns_why() {
    let (world, full) = (World::new(SETTINGS), World::new(LogSettings { readers_max: 0, ..SETTINGS }));
    for (world, tail, expected) in [(&world, false, &["line", "held"][..]), (&full, true, &["too_many"])] {
        world.answer(&["/"]);
        let (sender, mut sent) = LogsSender::to_here();
        world.sources(Some("edge-2")).answer(&request(SOURCE_REQUESTS, tail), &sender).await;
        drop(sender);
        let mut events = Vec::new();
        while let Some(event) = sent.next().await {
            events.push(match event {
                LogsEvent::Line(_) => "line",
                LogsEvent::Held(_) => "held",
                LogsEvent::Problem(problem) => problem.code.as_str(),
                LogsEvent::Lost(_) | LogsEvent::Position(_) => "more",
            });
        }
        assert_eq!(events, expected, "{tail}");
    }
}

fn output(folder: &Path, readers_per_app_max: u64) -> Logs {
    Logs::new(folder.to_owned(), &Limits { log_readers_per_app_max: readers_per_app_max, ..Limits::default() })
}

async fn write(logs: &Logs, text: &str) {
    let line = Line {
        at_ms: 1,
        instance: "web.1".to_owned(),
        version: String::new(),
        stream: LineStream::Stdout,
        text: text.to_owned(),
    };
    logs.of(&shop(), "prod").await.add(line).await;
}

#[tokio::test]
async fn output_that_is_held_costs_a_place_in_a_cluster_and_is_shown_by_an_edge_that_ends() {
    let (world, folder) = (World::new(SETTINGS), tempfile::tempdir().unwrap());
    let open = |name: &str, readers_max| output(&folder.path().join(name), readers_max);
    let (free, full, ends) = (open("free", 4), open("full", 0), open("ends", 4));
    for logs in [&free, &full, &ends] {
        write(logs, "up").await;
    }
    ends.end_readers();
    for (logs, node, tail, expected) in [
        (&free, None, false, Ok(false)),
        (&free, None, true, Ok(true)),
        (&free, Some("edge-1"), false, Ok(true)),
        (&free, Some("edge-1"), true, Ok(true)),
        (&full, None, false, Ok(false)),
        (&full, None, true, Err(Code::TooMany)),
        (&full, Some("edge-1"), false, Err(Code::TooMany)),
        (&full, Some("edge-1"), true, Err(Code::TooMany)),
        (&ends, None, false, Ok(false)),
        (&ends, None, true, Err(Code::Busy)),
        (&ends, Some("edge-1"), false, Ok(false)),
        (&ends, Some("edge-1"), true, Err(Code::Busy)),
    ] {
        let (sources, wanted) = (world.sources(node), request(SOURCE_INSTANCES, tail));
        let begun = sources.output_lines((logs, "edge-1"), &wanted, None).await;
        let has_reader = begun.map_err(|error| error.0.code).map(|begun| {
            assert_eq!(begun.lines.len(), 1, "{node:?} {tail}");
            begun.reader.is_some()
        });
        assert_eq!(has_reader, expected, "{node:?} {tail}");
    }
}

/// For lines in files, the number of lines not read again is unknown.
#[tokio::test]
async fn the_number_of_lines_of_output_that_made_room_is_reported_where_it_is_known() {
    let (world, folder) = (World::new(SETTINGS), tempfile::tempdir().unwrap());
    let logs = output(folder.path(), 4);
    for _ in 0..12 {
        // Together more than the memory bound of an environment.
        write(&logs, &"x".repeat(100_000)).await;
    }
    logs.flush().await;
    let (sources, wanted) = (world.sources(None), request(SOURCE_INSTANCES, false));
    let held = sources.output_lines((&logs, "edge-1"), &wanted, None).await.unwrap();
    let gone = held.held.gone.unwrap();
    assert!(gone > 0 && gone + held.lines.len() as u64 == 12, "{gone}");
    assert_eq!(held.held.since_ms, Some(1));
    let opened_again = output(folder.path(), 4);
    let held = sources.output_lines((&opened_again, "edge-1"), &wanted, None).await.unwrap();
    assert!(!held.lines.is_empty() && held.lines.len() < 12);
    assert_eq!((held.held.gone, held.held.since_ms), (None, Some(1)));
}

fn texts(lines: &[LogsLine]) -> Vec<String> {
    let lines = lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(&line.json).unwrap());
    lines.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

/// Lines of the same millisecond differ by a counter.
#[tokio::test]
async fn a_reader_of_output_goes_on_behind_the_line_whose_id_it_comes_with() {
    let (world, folder) = (World::new(SETTINGS), tempfile::tempdir().unwrap());
    let (sources, logs) = (world.sources(None), output(folder.path(), 8));
    let all = ["one", "two", "three"];
    for text in all {
        write(&logs, text).await;
    }
    let read = async |last_id: Option<String>| {
        let wanted = LogsRequest { last_id, ..request(SOURCE_INSTANCES, true) };
        sources.output_lines((&logs, "edge-1"), &wanted, None).await.unwrap()
    };
    let begun = read(None).await;
    assert_eq!((texts(&begun.lines), begun.held.is_resumed), (all.map(str::to_owned).to_vec(), None));
    for (at, line) in begun.lines.iter().enumerate() {
        let again = read(Some(line.id.clone())).await;
        assert_eq!(texts(&again.lines), all[at + 1..], "{}", line.id);
        assert_eq!(again.held.is_resumed, Some(true), "{}", line.id);
    }
    assert_eq!(begun.held.last_id.as_ref(), begun.lines.last().map(|line| &line.id));
    // Live lines have ids of the same kind.
    let mut reader = begun.reader.unwrap();
    write(&logs, "four").await;
    write(&logs, "five").await;
    let Some(LogsEvent::Line(four)) = reader.next().await else { panic!("a line comes") };
    assert_eq!(texts(&read(Some(four.id)).await.lines), ["five"]);
    let unknown = read(Some("nonsense".to_owned())).await;
    assert_eq!((unknown.lines.len(), unknown.held.is_resumed), (5, None));
}
