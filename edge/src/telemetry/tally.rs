//! How an environment's requests were answered, counted cheaply, and what it was like in the last minutes.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;

/// Stripes of a tally: threads that are more than these share them.
const STRIPES: usize = 8;
/// How often the counts are to be noted.
pub const TALLY_EVERY: Duration = Duration::from_secs(5);

/// Requests, and how many of them were answered badly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// All of them.
    pub requests: u64,
    /// Of these, with 404.
    pub not_found: u64,
    /// Of these, with a status from 500 on.
    pub server_errors: u64,
}

impl Answers {
    /// Those since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            not_found: self.not_found.saturating_sub(earlier.not_found),
            server_errors: self.server_errors.saturating_sub(earlier.server_errors),
        }
    }
}

/// Two cache lines, as processors fetch them in pairs: no thread writes to what another one writes to.
#[derive(Default)]
#[repr(align(128))]
struct Stripe {
    requests: AtomicU64,
    not_found: AtomicU64,
    server_errors: AtomicU64,
}

/// The counts of one environment, of whichever version answered.
#[derive(Default)]
pub struct Tally([Stripe; STRIPES]);

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The stripe of this thread: the threads take turns.
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    STRIPE.with(|stripe| {
        if stripe.get() == usize::MAX {
            stripe.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        stripe.get()
    })
}

impl Tally {
    /// Counts one request: no lock, no memory, a counter that only this thread writes.
    pub fn count(&self, status: StatusCode) {
        let Some(stripe) = self.0.get(stripe()) else { return };
        stripe.requests.fetch_add(1, Ordering::Relaxed);
        if status == StatusCode::NOT_FOUND {
            stripe.not_found.fetch_add(1, Ordering::Relaxed);
        } else if status.is_server_error() {
            stripe.server_errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn answers(&self) -> Answers {
        self.0.iter().fold(Answers::default(), |sum, stripe| Answers {
            requests: sum.requests + stripe.requests.load(Ordering::Relaxed),
            not_found: sum.not_found + stripe.not_found.load(Ordering::Relaxed),
            server_errors: sum.server_errors + stripe.server_errors.load(Ordering::Relaxed),
        })
    }
}

struct Noted {
    tally: Arc<Tally>,
    /// The oldest first; only what differs from the one before.
    notes: VecDeque<(Instant, Answers)>,
}

/// The tallies of every environment. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tallies(Arc<Mutex<HashMap<(String, String), Noted>>>);

impl Tallies {
    /// The tally of an app's environment.
    #[must_use]
    pub fn of(&self, app: &str, environment: &str) -> Arc<Tally> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = all.entry((app.to_owned(), environment.to_owned())).or_insert_with(|| Noted {
            tally: Arc::default(),
            notes: VecDeque::from([(Instant::now(), Answers::default())]),
        });
        Arc::clone(&noted.tally)
    }

    /// Notes every count; to be called every [`TALLY_EVERY`]. What is older than `span` is forgotten.
    pub fn note(&self, span: Duration) {
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is served there any more, and nobody looks.
        all.retain(|_, noted| Arc::strong_count(&noted.tally) > 1);
        for Noted { tally, notes } in all.values_mut() {
            let answers = tally.answers();
            if notes.back().is_none_or(|(_, last)| *last != answers) {
                notes.push_back((now, answers));
            }
            // One from before the span stays: what came since is counted from there.
            while notes.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= span) {
                notes.pop_front();
            }
        }
    }

    /// What was answered within the last `span`, as exactly as it was noted.
    #[must_use]
    pub fn recent(&self, app: &str, environment: &str, span: Duration) -> Answers {
        let now = Instant::now();
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(noted) = all.get(&(app.to_owned(), environment.to_owned())) else { return Answers::default() };
        let before = noted.notes.iter().rev().find(|(at, _)| now.duration_since(*at) >= span);
        let earlier = before.or_else(|| noted.notes.front()).map(|(_, answers)| *answers).unwrap_or_default();
        noted.tally.answers().since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_of_any_thread_is_lost() {
        let tallies = Tallies::default();
        let tally = tallies.of("shop", "prod");
        std::thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| {
                    for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::BAD_GATEWAY] {
                        (0..1_000).for_each(|_| tally.count(status));
                    }
                });
            }
        });
        let threads = 2 * STRIPES as u64;
        let all = Answers { requests: threads * 3_000, not_found: threads * 1_000, server_errors: threads * 1_000 };
        assert_eq!(tally.answers(), all);
        assert_eq!(tallies.recent("shop", "prod", Duration::from_secs(60)), all);
        assert_eq!(tallies.recent("shop", "staging", Duration::from_secs(60)), Answers::default());
    }

    #[test]
    fn what_is_older_than_the_span_does_not_count() {
        let tallies = Tallies::default();
        let tally = tallies.of("shop", "prod");
        tally.count(StatusCode::OK);
        tallies.note(Duration::ZERO);
        tally.count(StatusCode::NOT_FOUND);
        let recent = tallies.recent("shop", "prod", Duration::ZERO);
        assert_eq!(recent, Answers { requests: 1, not_found: 1, server_errors: 0 });
        tallies.note(Duration::ZERO);
        assert_eq!(tallies.recent("shop", "prod", Duration::ZERO), Answers::default());
        drop(tally);
        tallies.note(Duration::ZERO);
        assert!(tallies.0.lock().unwrap().is_empty(), "nobody serves there any more");
    }
}
