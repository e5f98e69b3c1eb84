//! Logs in a real folder.

use super::*;

fn line(instance: &str, text: &str) -> Line {
    Line {
        at_ms: 1,
        instance: instance.to_owned(),
        version: String::new(),
        stream: LineStream::Stdout,
        text: text.to_owned(),
    }
}

fn logs(folder: &std::path::Path, bytes_max: u64, files_max: u64) -> Logs {
    let limits = Limits {
        instance_log_bytes_max: bytes_max,
        instance_log_files_max: files_max,
        log_reader_lines_max: 16,
        ..Limits::default()
    };
    Logs::new(folder.to_owned(), &limits)
}

#[tokio::test]
async fn a_reader_gets_the_last_lines_and_then_each_one_that_comes() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(folder.path(), 1 << 20, 2);
    let app: AppName = "shop".parse().unwrap();
    let log = logs.of(&app, "prod").await;
    for number in 0..5 {
        log.add(line(if number % 2 == 0 { "web.1" } else { "web.10" }, &number.to_string())).await;
    }
    let texts = |last: &LastLines| last.lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&logs.last(&app, "prod", None, 2).await), ["3", "4"]);
    assert_eq!(texts(&logs.last(&app, "prod", Some("web.1"), 9).await), ["0", "2", "4"]);
    assert_eq!(texts(&logs.last(&app, "prod", Some("web"), 9).await).len(), 5);
    assert_eq!(logs.last(&app, "other", None, 9).await, LastLines::default());
    let (before, mut reader) = logs.follow(&app, "prod", Some("web.1"), LinesBefore::Last(1)).await.unwrap();
    assert_eq!(texts(&before), ["4"]);
    log.add(line("web.10", "no")).await;
    log.add(line("web.1", "yes")).await;
    let Some(OutputEvent::Line(line)) = reader.next().await else { panic!("a line comes") };
    assert_eq!(line.text, "yes");
}

#[tokio::test]
async fn a_reader_that_is_too_slow_learns_how_much_it_lost() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(folder.path(), 1 << 20, 2);
    let app: AppName = "shop".parse().unwrap();
    let log = logs.of(&app, "prod").await;
    let (_, mut reader) = logs.follow(&app, "prod", None, LinesBefore::Last(0)).await.unwrap();
    for number in 0..26 {
        log.add(line("web.1", &number.to_string())).await;
    }
    assert_eq!(reader.next().await, Some(OutputEvent::Lost(10)));
    let Some(OutputEvent::Line(line)) = reader.next().await else { panic!("a line comes") };
    assert_eq!(line.text, "10");
}

#[tokio::test]
async fn files_are_rotated_and_hold_no_more_than_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes_max, files_max) = (4_096, 3);
    let logs = logs(folder.path(), bytes_max, files_max);
    let app: AppName = "shop".parse().unwrap();
    let log = logs.of(&app, "prod").await;
    for number in 0..400 {
        log.add(line("web.1", &format!("{number} {}", "x".repeat(100)))).await;
    }
    log.flush().await;
    let of_place = folder.path().join("shop/prod");
    let sizes: Vec<u64> =
        std::fs::read_dir(&of_place).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|size| *size <= bytes_max), "{sizes:?}");
    // Another run finds the last lines, in order.
    let again = self::logs(folder.path(), bytes_max, files_max);
    let found = again.last(&app, "prod", None, 1_000).await;
    let numbers: Vec<u64> =
        found.lines.iter().map(|line| line.text.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.len() > 40 && numbers.ends_with(&[398, 399]), "{numbers:?}");
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "what a death has left")]
async fn a_line_that_was_cut_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let of_place = folder.path().join("shop/prod");
    std::fs::create_dir_all(&of_place).unwrap();
    std::fs::write(of_place.join("0.jsonl"), "{\"at_ms\":1,\"inst").unwrap();
    let app: AppName = "shop".parse().unwrap();
    let log = logs(folder.path(), 1 << 20, 2).of(&app, "prod").await;
    for text in ["one", "two"] {
        log.add(line("web.1", text)).await;
    }
    log.flush().await;
    let found = logs(folder.path(), 1 << 20, 2).last(&app, "prod", None, 9).await.lines;
    assert_eq!(found.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["one", "two"]);
}

#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(folder.path(), 1 << 20, 2);
    let app: AppName = "shop".parse().unwrap();
    let log = logs.of(&app, "prod").await;
    for _ in 0..400 {
        log.add(line("web.1", &"x".repeat(16_000))).await;
    }
    let kept = log.kept.lock();
    assert!(kept.bytes <= KEPT_BYTES_MAX && kept.lines.len() < 70, "{}", kept.lines.len());
}

#[tokio::test]
async fn a_reader_of_what_nobody_wrote_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(folder.path(), 1 << 20, 2);
    let app: AppName = "shop".parse().unwrap();
    let count = async || logs.0.places.lock().await.len();
    assert_eq!(logs.last(&app, "invented", None, 9).await, LastLines::default());
    assert_eq!(count().await, 0);
    let (_, reader) = logs.follow(&app, "invented", None, LinesBefore::Last(9)).await.unwrap();
    assert_eq!(count().await, 1);
    drop(reader);
    let written = logs.of(&app, "prod").await;
    assert_eq!(count().await, 1);
    written.add(line("web.1", "kept")).await;
    written.flush().await;
    drop(written);
    let other = logs.of(&app, "other").await;
    assert_eq!(count().await, 1);
    drop(other);
    assert_eq!(logs.last(&app, "prod", None, 9).await.lines.len(), 1);
}

#[tokio::test]
async fn lines_that_made_room_are_counted_where_they_were_requested() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(folder.path(), 64 << 20, 2);
    let app: AppName = "shop".parse().unwrap();
    let log = logs.of(&app, "prod").await;
    let long = "x".repeat(KEPT_BYTES_MAX / 10);
    for number in 0..24 {
        let instance = if number % 2 == 0 { "web.1" } else { "worker.1" };
        log.add(Line { at_ms: number, ..line(instance, &long) }).await;
    }
    let gone = async |instance, last| logs.last(&app, "prod", instance, last).await.gone;
    assert_eq!(gone(None, 5).await, None, "all that were asked for are held");
    let all = gone(None, 100).await.unwrap();
    let held = logs.last(&app, "prod", None, 100).await.lines;
    assert_eq!((all.lines, all.since_ms), (24 - held.len() as u64, held[0].at_ms));
    let (web, worker) = (gone(Some("web"), 100).await.unwrap(), gone(Some("worker.1"), 100).await.unwrap());
    assert_eq!(web.lines + worker.lines, all.lines);
    assert_eq!(gone(Some("other"), 100).await, None, "no line of it was dropped");
    // A live reader gets the same.
    let (before, _reader) = logs.follow(&app, "prod", None, LinesBefore::Last(100)).await.unwrap();
    assert_eq!(before.gone, Some(all));
    // Another run reads the end of the files, and knows of earlier lines. A flush waits only a moment for a slow disk,
    // and the rest is written later.
    log.flush().await;
    let again = self::logs(folder.path(), 64 << 20, 2);
    while again.last(&app, "prod", None, 100).await.gone.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn readers_of_one_environment_leave_places_to_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(folder.path(), 1 << 20, 2);
    let app: AppName = "shop".parse().unwrap();
    let mut readers = Vec::new();
    let mut taken = Vec::new();
    for place in ["staging", "prod", "next", "last", "none"] {
        let before = readers.len();
        let refused = loop {
            match logs.follow(&app, place, None, LinesBefore::Last(0)).await {
                Ok((_, reader)) => readers.push(reader),
                Err(refused) => break refused,
            }
        };
        taken.push((readers.len() - before, refused));
    }
    let (of_app, of_environment) = (TooManyReaders::OfApp(8), TooManyReaders::OfEnvironment);
    let expected = [(4, of_environment(4)), (2, of_environment(2)), (1, of_environment(1)), (1, of_app), (0, of_app)];
    assert_eq!(taken, expected);
    drop(readers);
    logs.follow(&app, "none", None, LinesBefore::Last(0)).await.unwrap();
}

#[tokio::test]
async fn a_reader_that_comes_again_gets_each_line_once_also_from_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let app: AppName = "shop".parse().unwrap();
    let logs = Logs::new(folder.path().to_owned(), &Limits::default());
    let log = logs.of(&app, "prod").await;
    // Several lines of one millisecond, and a clock set back.
    for (at_ms, text) in [(5, "0"), (5, "1"), (5, "2"), (4, "3"), (4, "4"), (9, "5")] {
        log.add(Line { at_ms, ..line("web.1", text) }).await;
    }
    let all = logs.last(&app, "prod", None, 9).await;
    logs.flush().await;
    let next = Logs::new(folder.path().to_owned(), &Limits::default());
    for logs in [&logs, &next] {
        for (number, line) in all.lines.iter().enumerate() {
            let (after, _) = logs.follow(&app, "prod", None, LinesBefore::After(line.id)).await.unwrap();
            let texts: Vec<_> = after.lines.iter().map(|line| line.text.as_str()).collect();
            assert_eq!(texts, &["0", "1", "2", "3", "4", "5"][number + 1..]);
            assert_eq!((after.last_id, after.gone), (all.last_id, None));
        }
        // An unknown position.
        let unknown = LineId { at_ms: 8, ordinal: 0 };
        let (after, _) = logs.follow(&app, "prod", None, LinesBefore::After(unknown)).await.unwrap();
        assert_eq!(after.lines.len(), 1);
    }
}

#[tokio::test]
async fn readers_end_once_they_have_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let app: AppName = "shop".parse().unwrap();
    let logs = Logs::new(folder.path().to_owned(), &Limits::default());
    let (_, mut reader) = logs.follow(&app, "prod", None, LinesBefore::Last(0)).await.unwrap();
    logs.of(&app, "prod").await.add(line("web.1", "last")).await;
    logs.end_readers();
    assert!(matches!(reader.next().await, Some(OutputEvent::Line(_))));
    assert_eq!(reader.next().await, None);
    let late = logs.follow(&app, "prod", None, LinesBefore::Last(0)).await;
    assert_eq!(late.err(), Some(TooManyReaders::Ending));
}
