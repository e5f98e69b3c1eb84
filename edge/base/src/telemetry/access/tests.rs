//! Lines on the way to a file and to readers.

use std::sync::atomic::AtomicUsize;

use super::*;
use devanture_config::api::LogFilter;

/// File that can be full.
#[derive(Clone, Default)]
struct Paper {
    text: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.text.lock();
        if self.full.load(Ordering::Relaxed) {
            // A disk that fills up writes a part of the line first.
            text.extend_from_slice(&bytes[..bytes.len().min(7)]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn log(&self, settings: LogSettings) -> AccessLog {
        let (writer, again) = (Box::new(self.clone()), self.clone());
        let open: OpenLog = Box::new(move || {
            again.opened.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(again.clone()))
        });
        AccessLog::new(settings, Some(LogOutput { form: LineForm::Json, writer, open }))
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.text.lock().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

fn settings() -> LogSettings {
    LogSettings {
        addresses: LogAddresses::Short,
        queries: false,
        lines_max: 10_000,
        readers_max: 3,
        readers_per_app_max: 2,
        reader_lines_max: 4,
        kept_bytes_max: 1_500,
        kept_apps_max: 2,
    }
}

fn line(app: &str, target: &str, status: u16) -> Box<LogLine> {
    Box::new(LogLine {
        at_ms: 1,
        client: None,
        protocol: "h2".to_owned(),
        host: "h".to_owned(),
        method: "GET".to_owned(),
        target: target.to_owned(),
        status,
        bytes: 0,
        us: 0,
        referer: None,
        user_agent: None,
        app: Some(app.to_owned()),
        environment: Some("prod".to_owned()),
        version: None,
        proxied: false,
        request_id: None,
        upstream: None,
        error: None,
        node: None,
    })
}

fn wanted(app: &str) -> LogWanted {
    LogWanted { app: app.to_owned(), environment: "prod".to_owned(), filter: LogFilter::default() }
}

const LONG: Duration = Duration::from_secs(10);

#[test]
fn nobody_wants_a_line_where_none_is_written_and_nobody_reads() {
    let log = AccessLog::new(settings(), None);
    assert!(!log.is_on());
    let reader = log.read(wanted("shop"), LinesBefore::Last(0)).unwrap();
    assert!(log.is_on());
    drop(reader);
    assert!(!log.is_on());
}

#[tokio::test]
async fn a_reader_gets_its_apps_lines_and_learns_what_it_lost() {
    let log = AccessLog::new(settings(), None);
    let mut reader = log.read(wanted("shop"), LinesBefore::Last(9)).unwrap().reader;
    for number in 0..10 {
        log.write(line("shop", &format!("/{number}"), 200));
        log.write(line("other", "/x", 200));
    }
    log.flush(LONG);
    let mut events = vec![reader.next().await.unwrap()];
    for _ in 0..4 {
        events.push(reader.next().await.unwrap());
    }
    assert_eq!(events[0], LogEvent::Lost(6));
    let targets: Vec<String> = events[1..].iter().map(|events| format!("{events:?}")).collect();
    assert!(targets.iter().enumerate().all(|(n, text)| text.contains(&format!("\"/{n}\""))), "{targets:?}");
    log.end_readers();
    assert_eq!(reader.next().await, None);
    assert!(!reader.is_handed_over(), "nobody goes on");
    assert_eq!(log.read(wanted("shop"), LinesBefore::Last(0)).err(), Some(TooManyReaders::Ending));
}

#[tokio::test]
async fn lines_of_another_process_are_read_and_remembered_and_not_written_again() {
    for is_written in [true, false] {
        let (old_paper, new_paper) = (Paper::default(), Paper::default());
        let log = |paper: &Paper| if is_written { paper.log(settings()) } else { AccessLog::new(settings(), None) };
        let (old, new) = (log(&old_paper), log(&new_paper));
        new.follow_run(old.run().to_owned());
        assert_eq!((new.run_before(), old.run_before()), (Some(old.run()), None));
        let mut reader = old.read(wanted("shop"), LinesBefore::Last(0)).unwrap().reader;
        old.write(line("shop", "/before", 200));
        old.flush(LONG);
        let mut rest = old.end_readers_for_one();
        // Lines are also wanted without output.
        assert!(old.is_on());
        assert_eq!(old.read(wanted("shop"), LinesBefore::Last(0)).err(), Some(TooManyReaders::Ending));
        assert!(matches!(reader.next().await, Some(LogEvent::Line(line)) if line.target == "/before"));
        assert_eq!(reader.next().await, None);
        assert!(reader.is_handed_over());
        let mut reader = new.read(wanted("shop"), LinesBefore::After(0)).unwrap().reader;
        for app in ["shop", "blog"] {
            old.write(line(app, "/after", 200));
        }
        old.flush(LONG);
        old.end_readers();
        while let Some(event) = rest.next().await {
            let LogEvent::Line(line) = event else { panic!("{event:?}") };
            new.take_written(Box::new((*line.line).clone()));
        }
        new.write(line("shop", "/new", 200));
        new.flush(LONG);
        for target in ["/after", "/new"] {
            assert!(matches!(reader.next().await, Some(LogEvent::Line(line)) if line.target == target));
        }
        let remembered = if is_written { vec!["/after", "/new"] } else { vec![] };
        assert_eq!(new.remembered(&wanted("shop"), 9).iter().map(|line| &*line.target).collect::<Vec<_>>(), remembered);
        let counts = [&old_paper, &new_paper].map(|paper| paper.lines().len());
        assert_eq!(counts, if is_written { [3, 1] } else { [0, 0] });
    }
}

#[test]
fn readers_are_bounded_in_all_and_for_each_app() {
    let log = AccessLog::new(settings(), None);
    let of_staging = || LogWanted { environment: "staging".to_owned(), ..wanted("a") };
    let _first = log.read(wanted("a"), LinesBefore::Last(0)).unwrap();
    assert_eq!(log.read(wanted("a"), LinesBefore::Last(0)).err(), Some(TooManyReaders::OfEnvironment(1)));
    let second = log.read(of_staging(), LinesBefore::Last(0)).unwrap();
    assert_eq!(log.read(wanted("a"), LinesBefore::Last(0)).err(), Some(TooManyReaders::OfApp(2)));
    assert_eq!(log.read(of_staging(), LinesBefore::Last(0)).err(), Some(TooManyReaders::OfApp(2)));
    let _third = log.read(wanted("b"), LinesBefore::Last(0)).unwrap();
    assert_eq!(log.read(wanted("c"), LinesBefore::Last(0)).err(), Some(TooManyReaders::InAll(3)));
    let _own = log.read_along(wanted("c")).unwrap();
    drop(second);
    log.read(wanted("c"), LinesBefore::Last(0)).unwrap();
}

#[test]
fn the_last_lines_of_each_app_are_remembered_within_their_bounds() {
    let log = Paper::default().log(settings());
    for number in 0..10 {
        log.write(line("a", &format!("/{number}"), if number == 9 { 404 } else { 200 }));
    }
    log.flush(LONG);
    let targets = |app: &str, last| -> Vec<String> {
        log.remembered(&wanted(app), last).iter().map(|line| line.target.clone()).collect()
    };
    assert_eq!(targets("a", 100), ["/5", "/6", "/7", "/8", "/9"]);
    assert_eq!(targets("a", 2), ["/8", "/9"]);
    let oldest = log.remembered(&wanted("a"), 100)[0].at_ms;
    assert_eq!((log.held_since("a"), log.held_since("b")), (Some(oldest), None));
    let filter = LogFilter { status: Some("4xx".parse().unwrap()), ..LogFilter::default() };
    assert_eq!(log.remembered(&LogWanted { filter, ..wanted("a") }, 9).len(), 1);
    log.write(line("b", "/b", 200));
    log.write(line("c", "/c", 200));
    log.flush(LONG);
    assert_eq!((targets("a", 9).len(), targets("b", 9).len(), targets("c", 9).len()), (0, 1, 1));
    assert_eq!(log.held_since("b"), None, "nothing of it made room");
}

#[tokio::test]
async fn what_was_forgotten_is_remembered_and_shown_to_nobody_also_where_it_comes_late() {
    let log = Paper::default().log(settings());
    let at = |app: &str, environment: &str, target: &str, at_ms: u64| {
        Box::new(LogLine { at_ms, environment: Some(environment.to_owned()), ..*line(app, target, 200) })
    };
    let staging = LogWanted { environment: "staging".to_owned(), ..wanted("a") };
    let mut reader = log.read(staging.clone(), LinesBefore::Last(0)).unwrap().reader;
    let mut other = log.read(wanted("a"), LinesBefore::Last(0)).unwrap().reader;
    for environment in ["prod", "staging"] {
        log.write(at("a", environment, "/old", 1));
    }
    log.flush(LONG);
    log.forget("a", Some("staging"));
    assert!(matches!(reader.next().await, Some(LogEvent::Line(_))));
    assert_eq!(reader.next().await, None);
    let count = |wanted: &LogWanted| log.remembered(wanted, 9).len();
    assert_eq!((count(&staging), count(&wanted("a"))), (0, 1));
    // A download begun before is logged at its end; new requests belong to the next owner.
    log.write(at("a", "staging", "/late", 1));
    log.write(at("a", "staging", "/new", u64::MAX));
    log.flush(LONG);
    assert_eq!(log.remembered(&staging, 9)[0].target, "/new");
    assert_eq!(count(&staging), 1);
    log.forget("a", None);
    assert_eq!((count(&staging), count(&wanted("a"))), (0, 0));
    assert!(matches!(other.next().await, Some(LogEvent::Line(_))));
    assert_eq!(other.next().await, None);
}

#[test]
fn a_full_disk_loses_lines_and_nothing_else() {
    let paper = Paper::default();
    let log = paper.log(settings());
    log.write(line("a", "/1", 200));
    log.flush(LONG);
    paper.full.store(true, Ordering::Relaxed);
    log.write(line("a", "/2", 200));
    log.flush(LONG);
    paper.full.store(false, Ordering::Relaxed);
    log.write(line("a", "/3", 200));
    log.flush(LONG);
    let lines = paper.lines();
    assert_eq!(lines.len(), 3, "what is half written stands on a line of its own: {lines:?}");
    assert!(lines[0].contains("\"/1\"") && lines[2].contains("\"/3\""), "{lines:?}");
    serde_json::from_str::<LogLine>(&lines[2]).unwrap();
}

#[test]
fn a_file_is_opened_again_when_somebody_says_so() {
    let paper = Paper::default();
    let log = paper.log(settings());
    log.reopen();
    log.write(line("a", "/1", 200));
    log.flush(LONG);
    assert_eq!((paper.opened.load(Ordering::Relaxed), paper.lines().len()), (1, 1));
}

#[test]
fn addresses_are_shortened_to_their_network() {
    let short = |text: &str| shortened(LogAddresses::Short, text.parse().unwrap()).unwrap().to_string();
    assert_eq!(short("203.0.113.77"), "203.0.113.0");
    assert_eq!(short("::ffff:203.0.113.77"), "203.0.113.0");
    assert_eq!(short("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
    assert_eq!(shortened(LogAddresses::None, [1, 2, 3, 4].into()), None);
    assert_eq!(shortened(LogAddresses::Full, [1, 2, 3, 4].into()), Some([1, 2, 3, 4].into()));
    let log = AccessLog::new(settings(), None);
    assert_eq!((log.target("/a?token=x"), log.target("/a")), ("/a", "/a"));
}

#[tokio::test]
async fn a_reader_that_comes_again_gets_each_line_once() {
    let log = Paper::default().log(settings());
    let write = |path: &str| log.write(line("a", path, 200));
    write("/0");
    log.flush(LONG);
    let mut first = log.read(wanted("a"), LinesBefore::Last(9)).unwrap();
    assert_eq!((first.lines.len(), first.last_number, first.since_ms), (1, 1, None));
    write("/1");
    let Some(LogEvent::Line(one)) = first.reader.next().await else { panic!("a line comes") };
    drop(first);
    write("/2");
    log.write(line("other", "/x", 200));
    write("/3");
    log.flush(LONG);
    let mut again = log.read(wanted("a"), LinesBefore::After(one.number)).unwrap();
    let targets: Vec<_> = again.lines.iter().map(|line| line.target.as_str()).collect();
    assert_eq!((targets, again.last_number, again.since_ms), (vec!["/2", "/3"], 5, None));
    write("/4");
    let Some(LogEvent::Line(four)) = again.reader.next().await else { panic!("a line comes") };
    assert_eq!((four.target.as_str(), four.number), ("/4", 6));
    // Beyond the remembered lines, the reader learns the time since which no line is missing.
    for number in 5..20 {
        write(&format!("/{number}"));
    }
    log.flush(LONG);
    drop(again);
    let late = log.read(wanted("a"), LinesBefore::After(four.number)).unwrap();
    assert_eq!(late.since_ms, Some(late.lines[0].at_ms));
    let last = late.lines.last().unwrap().number;
    drop(late);
    assert_eq!(log.read(wanted("a"), LinesBefore::After(last)).unwrap().since_ms, None);
}
