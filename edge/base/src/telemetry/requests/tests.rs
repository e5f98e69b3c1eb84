//! Tests of the request counts.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use proptest::prelude::*;

use super::known::{BYTES, Known, REQUESTS, SECONDS, seconds_of};
use super::*;
use crate::telemetry::labels::Labels;
use crate::telemetry::series::{GONE_KEPT, GONE_MAX};

/// Held by tests that let the series of another test be dropped, if both run in one process.
static FORGETTING: Mutex<()> = Mutex::new(());

fn recorder() -> PrometheusRecorder {
    labels::choose_apps(None, usize::MAX);
    let matcher = Matcher::Full(SECONDS.to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(matcher, &BOUNDS_NS.map(seconds_of)).unwrap().build_recorder()
}

/// Returns the value of a series.
fn value(text: &str, series: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).to_owned()
}

/// Returns all lines of one app.
fn series_of(text: &str, app: &str) -> Vec<String> {
    let label = format!("{{app=\"{app}\",");
    text.lines().filter(|line| line.contains(&label)).map(str::to_owned).collect()
}

/// Returns the latency lines of one app.
fn lines_of(text: &str, app: &str) -> Vec<String> {
    let label = format!("{{app=\"{app}\",");
    text.lines().filter(|line| line.starts_with(SECONDS) && line.contains(&label)).map(str::to_owned).collect()
}

#[test]
fn nothing_is_lost_and_nothing_reported_twice_while_threads_count_and_others_gather() {
    const THREADS: u64 = 20;
    const EACH: u64 = 5_000;
    let recorder = recorder();
    let metrics = metrics::with_local_recorder(&recorder, || RequestMetrics::new("threads", "prod", "one"));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    gather();
                }
            });
        }
        let count = || {
            for _ in 0..EACH {
                metrics.count(StatusCode::OK, 7, Duration::from_nanos(100_000));
                metrics.count(StatusCode::NOT_FOUND, 0, Duration::from_nanos(100_001));
            }
        };
        let counting: Vec<_> = (0..THREADS).map(|_| scope.spawn(count)).collect();
        counting.into_iter().for_each(|thread| thread.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
    });
    let text = gather_and_render();
    let all = THREADS * EACH;
    let requests = |class: &str| {
        value(
            &text,
            &format!(
                "devanture_requests_total{{app=\"threads\",environment=\"prod\",version=\"one\",status=\"{class}\"}}"
            ),
        )
    };
    assert_eq!([requests("2xx"), requests("4xx")], [all, all].map(|count| count.to_string()));
    assert!(!text.contains("{app=\"threads\",environment=\"prod\",version=\"one\",status=\"5xx\"}"), "{text}");
    let labels = "app=\"threads\",environment=\"prod\"";
    assert_eq!(value(&text, &format!("devanture_response_bytes_total{{{labels}}}")), (all * 7).to_string());
    assert_eq!(value(&text, &format!("{SECONDS}_bucket{{{labels},le=\"0.0001\"}}")), all.to_string());
    assert_eq!(value(&text, &format!("{SECONDS}_bucket{{{labels},le=\"0.00025\"}}")), (2 * all).to_string());
    assert_eq!(value(&text, &format!("{SECONDS}_count{{{labels}}}")), (2 * all).to_string());
    assert_eq!(value(&text, &format!("{SECONDS}_sum{{{labels}}}")), seconds_of(all * 200_001).to_string());
    assert_eq!(series_of(&gather_and_render(), "threads"), series_of(&text, "threads"), "nothing is gathered twice");
}

#[test]
fn a_version_that_is_dropped_has_reported_everything_and_the_next_one_counts_on() {
    let _one_at_a_time = FORGETTING.lock();
    let recorder = recorder();
    for version in ["one", "two"] {
        let metrics = metrics::with_local_recorder(&recorder, || RequestMetrics::new("dropped", "prod", version));
        metrics.count(StatusCode::OK, 5, Duration::from_secs(11));
    }
    // Read without gathering: the drop has gathered.
    let known = known();
    let text = known.render(&labels::lock());
    for version in ["one", "two"] {
        let series = format!(
            "devanture_requests_total{{app=\"dropped\",environment=\"prod\",version=\"{version}\",status=\"2xx\"}}"
        );
        assert_eq!(value(&text, &series), "1");
    }
    let labels = "app=\"dropped\",environment=\"prod\"";
    assert_eq!(value(&text, &format!("devanture_response_bytes_total{{{labels}}}")), "10");
    assert!(known.counts.iter().all(|counts| counts.served.0.0 != "dropped"), "nothing of them is kept");
    assert_eq!(value(&text, &format!("{SECONDS}_bucket{{{labels},le=\"10\"}}")), "0");
    assert_eq!(value(&text, &format!("{SECONDS}_bucket{{{labels},le=\"+Inf\"}}")), "2");
    assert_eq!(value(&text, &format!("{SECONDS}_sum{{{labels}}}")), "22");
}

#[test]
fn versions_that_are_gone_leave_no_series_and_what_is_live_counts_on() {
    let _one_at_a_time = FORGETTING.lock();
    labels::choose_apps(None, usize::MAX);
    let load = |version: &str| {
        let metrics = RequestMetrics::new("pushed", "prod", version);
        metrics.count(StatusCode::OK, 1, Duration::from_millis(1));
        metrics
    };
    let live = load("live");
    // A push per minute, for weeks.
    for number in 0..2 * GONE_MAX {
        drop(load(&number.to_string()));
        drop(RequestMetrics::new("pushed", &format!("branch-{number}"), "one"));
    }
    gather();
    let count = |known: &Known| series_of(&known.render(&labels::lock()), "pushed").len();
    assert!(count(&known()) < 40 * GONE_MAX, "{}", count(&known()));
    live.count(StatusCode::OK, 1, Duration::from_millis(1));
    let mut known = known();
    known.gather(&mut labels::lock());
    known.forget(Instant::now() + GONE_KEPT);
    let text = known.render(&labels::lock());
    let labels = "app=\"pushed\",environment=\"prod\"";
    assert_eq!(count(&known), 1 + 1 + BUCKETS + 2, "of one version and one environment");
    assert_eq!(value(&text, &format!("{REQUESTS}{{{labels},version=\"live\",status=\"2xx\"}}")), "2");
    let all = (2 * GONE_MAX + 2).to_string();
    assert_eq!(value(&text, &format!("{BYTES}{{{labels}}}")), all);
    assert_eq!(value(&text, &format!("{SECONDS}_count{{{labels}}}")), all);
    drop(known);
    drop(live);
}

#[test]
fn environments_without_series_of_their_own_count_together_and_nothing_is_lost() {
    let (mut known, mut labels) = (Known::new(), Labels::new(2));
    let metrics: Vec<RequestMetrics> = (0..5)
        .map(|number| {
            let metrics = RequestMetrics::unknown(&format!("together-{number}"), "prod", "one");
            known.begin(&metrics.counts);
            metrics
        })
        .collect();
    let idle = known.render(&labels);
    assert_eq!(idle, "", "nothing was counted");
    for (number, metrics) in metrics.iter().enumerate() {
        for _ in 0..=number {
            metrics.count(StatusCode::OK, 10, Duration::from_millis(1));
            metrics.count_delta(0, 3);
        }
    }
    known.gather(&mut labels);
    let text = known.render(&labels);
    let count = |app: &str, environment: &str| {
        let labels = format!("app=\"{app}\",environment=\"{environment}\"");
        value(&text, &format!("{SECONDS}_count{{{labels}}}"))
    };
    assert_eq!([count("together-0", "prod"), count("together-1", "prod"), count("_other", "_other")], ["1", "2", "12"]);
    let labels_of_sum = "app=\"_other\",environment=\"_other\"";
    assert_eq!(value(&text, &format!("{REQUESTS}{{{labels_of_sum},version=\"_other\",status=\"2xx\"}}")), "12");
    assert_eq!(value(&text, &format!("{BYTES}{{{labels_of_sum}}}")), "120");
    assert_eq!(value(&text, "devanture_delta_saved_bytes_total{app=\"_other\"}"), "36");
    assert!(!text.contains("together-2") && !text.contains("status=\"4xx\"") && !text.contains("dcz"), "{text}");
}

#[test]
fn a_scrape_of_ten_thousand_busy_apps_has_less_than_a_quarter_of_a_megabyte() {
    let (mut known, mut labels) = (Known::new(), Labels::new(100));
    let metrics: Vec<RequestMetrics> = (0..10_000)
        .map(|number| {
            let metrics = RequestMetrics::unknown(&format!("app-number-{number}"), "prod", "4f2a91bc03de");
            known.begin(&metrics.counts);
            metrics.count(StatusCode::OK, 10_000, Duration::from_micros(300));
            metrics.count(StatusCode::NOT_FOUND, 0, Duration::from_micros(30));
            metrics
        })
        .collect();
    known.gather(&mut labels);
    let text = known.render(&labels);
    assert!(text.len() < 250_000, "{}", text.len());
    assert_eq!(known.series_count(), 300, "those that are not written take no memory");
    let others = "app=\"_other\",environment=\"_other\"";
    assert_eq!(value(&text, &format!("{SECONDS}_count{{{others}}}")), "19800");
    drop(metrics);
}

#[test]
fn what_one_thread_counts_is_two_lines_of_the_cache() {
    assert_eq!((size_of::<Counting>(), size_of::<Counted>()), (128, 128));
    assert!(std::mem::offset_of!(Counting, by_bucket) < 64, "the first buckets are those of fast answers");
}

#[test]
fn counts_that_began_again_at_zero_are_gathered_in_full() {
    let metrics = RequestMetrics::unknown("long", "prod", "one");
    let slot = Slot::here();
    let count = |requests: u32| metrics.stripes.at(slot).unwrap().by_class[1].add(requests, slot);
    let news = || metrics.counts.take().map(|news| news.requests());
    count(u32::MAX - 1);
    assert_eq!(news(), Some((u32::MAX - 1).into()));
    count(5);
    assert_eq!((metrics.counts.totals().unwrap().by_class[1], news(), news()), (3, Some(5), None));
    // Counts of two threads with a total that wraps around before either count does.
    std::thread::scope(|scope| scope.spawn(|| metrics.count(StatusCode::OK, 0, Duration::ZERO)).join().unwrap());
    count(u32::MAX - 7);
    assert_eq!(news(), Some((u32::MAX - 6).into()));
}

#[test]
fn no_counter_goes_back_when_another_app_takes_the_series_of_one() {
    let (mut known, mut labels) = (Known::new(), Labels::new(1));
    let metrics = ["first", "second"].map(|app| RequestMetrics::unknown(&format!("turns-{app}"), "prod", "one"));
    metrics.iter().for_each(|metrics| known.begin(&metrics.counts));
    let (start, mut before, mut sum) = (Instant::now(), std::collections::BTreeMap::<String, u64>::new(), 0);
    for round in 0_u32..12 {
        // Each is busy for a while, in turns.
        let busy = usize::from(round % 6 >= 3);
        for _ in 0..100 {
            metrics[busy].count(StatusCode::OK, 1, Duration::from_millis(1));
            sum += 1;
        }
        known.gather(&mut labels);
        let text = known.render(&labels);
        let counts = text.lines().filter_map(|line| line.strip_prefix(&format!("{SECONDS}_count"))?.split_once(' '));
        for (series, count) in counts {
            let count: u64 = count.parse().unwrap();
            let earlier = before.insert(series.to_owned(), count).unwrap_or(0);
            assert!(count >= earlier, "{series} went from {earlier} to {count} in round {round}");
        }
        assert_eq!(before.values().sum::<u64>(), sum, "every request is in one series");
        labels.review(start + round * Duration::from_secs(400));
    }
    assert_eq!(before.len(), 3, "{before:?}");
}

proptest! {
    /// Every time near a bound, and times in between: counted in the bucket of a recorded sample with equal seconds, in
    /// the same text.
    #[test]
    fn the_histogram_reads_as_if_each_request_had_been_recorded(
        times in prop::collection::vec(
            prop_oneof![
                (prop::sample::select(BOUNDS_NS.to_vec()), 0..3_u64).prop_map(|(bound, step)| bound + step - 1),
                0..20_000_000_000_u64,
            ],
            0..50,
        ),
        environment in "[a-z0-9-]{1,8}",
    ) {
        static CASES: AtomicU64 = AtomicU64::new(0);
        let app = format!("case-{}", CASES.fetch_add(1, Ordering::Relaxed));
        let recorder = recorder();
        let labels = [("app", app.clone()), ("environment", environment.clone())];
        let (direct, ours) = metrics::with_local_recorder(&recorder, || {
            metrics::describe_histogram!(SECONDS, "Seconds from a request's head to its answer's last byte.");
            (metrics::histogram!(SECONDS, &labels), RequestMetrics::new(&app, &environment, "one"))
        });
        for time in times.iter().map(|time| Duration::from_nanos(*time)) {
            direct.record(time.as_secs_f64());
            ours.count(StatusCode::OK, 1, time);
        }
        let (ours, direct) = (gather_and_render(), recorder.handle().render());
        for line in ours.lines().filter(|line| line.starts_with('#') && line.contains(SECONDS)) {
            prop_assert!(direct.contains(line), "{}", line);
        }
        let (ours, direct) = (lines_of(&ours, &app), lines_of(&direct, &app));
        if times.is_empty() {
            // A series without traffic is not written.
            prop_assert!(ours.is_empty());
            return Ok(());
        }
        prop_assert_eq!(ours.len(), BUCKETS + 2);
        prop_assert_eq!(ours.len(), direct.len());
        for (ours, direct) in ours.iter().zip(&direct) {
            if !ours.starts_with(&format!("{SECONDS}_sum")) {
                prop_assert_eq!(ours, direct);
                continue;
            }
            // The exporter rounds after each addition; this code rounds once.
            let ((ours, sum), (direct, rounded)) = (ours.rsplit_once(' ').unwrap(), direct.rsplit_once(' ').unwrap());
            prop_assert_eq!(ours, direct);
            let exact = Duration::from_nanos(times.iter().sum()).as_secs_f64();
            prop_assert_eq!(sum, exact.to_string());
            prop_assert!((rounded.parse::<f64>().unwrap() - exact).abs() < 1e-9);
        }
    }
}
