//! Retry delays and log limits for backend names that have no address or get no answer. Publishers choose the names;
//! the resolver and the log belong to the operator.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use devanture_config::AppName;
use devanture_config::site_toml::UpstreamUrl;
use tokio::time::Instant;

/// Longest wait before a failed name is looked up again, unless `upstream_dns_ms_max` is shorter; each failure doubles
/// the wait.
const FAILED_WAIT_MAX: Duration = Duration::from_secs(60);
/// Maximum number of log lines about the names of one app within [`LINES_TIME`]; further lines are counted.
const LINES_PER_APP_MAX: u32 = 60;
/// Time window of the log limit.
const LINES_TIME: Duration = Duration::from_secs(60);

/// Failure kind of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The name has no address.
    Nothing,
    /// No server answers.
    Failed,
}

/// The failing names of one pool.
#[derive(Debug, Default)]
pub(super) struct Troubles(HashMap<UpstreamUrl, Failing>);

#[derive(Debug, Default)]
struct Failing {
    /// The last reported failure kind.
    reported: Option<Trouble>,
    /// Wait before the next lookup.
    wait: Duration,
}

impl Troubles {
    /// Removes names that are no longer in use.
    pub(super) fn retain(&mut self, is_named: impl Fn(&UpstreamUrl) -> bool) {
        self.0.retain(|address, _| is_named(address));
    }

    /// Returns true if the failure kind is new and has to be reported.
    pub(super) fn is_news(&mut self, address: &UpstreamUrl, trouble: Trouble) -> bool {
        self.0.entry(address.clone()).or_default().reported.replace(trouble) != Some(trouble)
    }

    /// Returns the wait after another failure: `least`, doubled with each failure up to the shorter of `most` and
    /// [`FAILED_WAIT_MAX`].
    pub(super) fn next_wait(&mut self, address: &UpstreamUrl, least: Duration, most: Duration) -> Duration {
        let failing = self.0.entry(address.clone()).or_default();
        let most = most.min(FAILED_WAIT_MAX).max(least);
        failing.wait = failing.wait.saturating_mul(2).clamp(least, most);
        failing.wait
    }

    /// Resets a name that has addresses; returns true if a failure was reported.
    pub(super) fn end(&mut self, address: &UpstreamUrl) -> bool {
        self.0.remove(address).is_some_and(|failing| failing.reported.is_some())
    }
}

/// Recent log lines about backend names, by app.
#[derive(Debug, Default)]
pub(super) struct AppLines(RefCell<HashMap<AppName, Lines>>);

#[derive(Debug)]
struct Lines {
    since: Instant,
    count: u32,
}

impl AppLines {
    /// Returns true if a line about a name of `app` is logged. The last line of a window announces the limit.
    pub(super) fn take(&self, app: &AppName) -> bool {
        let now = Instant::now();
        let mut by_app = self.0.borrow_mut();
        if !by_app.contains_key(app) {
            // Drop expired windows.
            by_app.retain(|_, lines| now.duration_since(lines.since) < LINES_TIME);
        }
        let lines = by_app.entry(app.clone()).or_insert(Lines { since: now, count: 0 });
        if now.duration_since(lines.since) >= LINES_TIME {
            *lines = Lines { since: now, count: 0 };
        }
        lines.count = lines.count.saturating_add(1);
        if lines.count == LINES_PER_APP_MAX {
            let seconds = LINES_TIME.as_secs();
            tracing::warn!(%app, seconds, "the names of the app's backends change too often: more is not logged for so long");
        }
        lines.count < LINES_PER_APP_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_secs(1);

    fn url(number: usize) -> UpstreamUrl {
        format!("http://backend-{number}.example.org").parse().unwrap()
    }

    #[test]
    fn a_name_that_fails_is_asked_about_less_and_less_until_it_has_an_address() {
        let mut troubles = Troubles::default();
        let mut waits = |count: usize| -> Vec<u64> {
            (0..count).map(|_| troubles.next_wait(&url(0), LEAST, Duration::from_secs(300)).as_secs()).collect()
        };
        assert_eq!(waits(9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        troubles.end(&url(0));
        assert_eq!(troubles.next_wait(&url(0), LEAST, Duration::from_secs(300)), LEAST);
        let short = Duration::from_secs(3);
        let waits: Vec<u64> = (0..4).map(|_| troubles.next_wait(&url(1), LEAST, short).as_secs()).collect();
        assert_eq!(waits, [1, 2, 3, 3], "no longer than DNS is believed");
    }

    #[test]
    fn a_trouble_is_news_once_for_each_change() {
        let mut troubles = Troubles::default();
        let mut of = |number, trouble| troubles.is_news(&url(number), trouble);
        assert!(of(0, Trouble::Nothing) && of(1, Trouble::Nothing));
        for _ in 0..100 {
            assert!(!of(0, Trouble::Nothing));
        }
        assert!(of(0, Trouble::Failed) && !of(0, Trouble::Failed) && of(0, Trouble::Nothing));
        assert!(troubles.end(&url(0)) && !troubles.end(&url(0)), "it is over once");
        assert!(troubles.is_news(&url(0), Trouble::Nothing));
        troubles.retain(|address| *address == url(1));
        assert!(troubles.is_news(&url(0), Trouble::Nothing) && !troubles.is_news(&url(1), Trouble::Nothing));
    }

    #[tokio::test(start_paused = true)]
    async fn law_11_an_app_writes_so_many_lines_about_its_names_and_takes_none_of_others() {
        let (lines, app, other) = (AppLines::default(), "shop".parse().unwrap(), "blog".parse().unwrap());
        let count = |app: &AppName| (0..10_000).filter(|_| lines.take(app)).count();
        // One more line announces the limit.
        let most = usize::try_from(LINES_PER_APP_MAX).unwrap() - 1;
        assert_eq!((count(&app), count(&other), count(&app)), (most, most, 0));
        tokio::time::advance(LINES_TIME).await;
        assert_eq!(count(&app), most);
        assert_eq!(lines.0.borrow().len(), 2);
        tokio::time::advance(LINES_TIME).await;
        assert!(lines.take(&"third".parse().unwrap()));
        assert_eq!(lines.0.borrow().len(), 1, "what is over takes no memory");
    }
}
