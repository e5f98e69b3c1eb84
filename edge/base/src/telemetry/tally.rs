//! Cheap counts of an environment's answers by status, with snapshots of the last minutes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_config::VersionId;
use http::StatusCode;
use parking_lot::Mutex;

use super::stripes::{Count, Slot, Stripes};

/// Number of snapshots up to which memory is allocated one by one.
const NOTES_EXPECTED: usize = 4;
/// Interval of snapshots.
pub const TALLY_EVERY: Duration = Duration::from_secs(5);

/// Number of requests and of failed answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// All requests.
    pub requests: u64,
    /// Requests answered with 404.
    pub not_found: u64,
    /// Requests answered with a status of 500 or higher.
    pub server_errors: u64,
}

impl Answers {
    const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            not_found: self.not_found.saturating_add(other.not_found),
            server_errors: self.server_errors.saturating_add(other.server_errors),
        }
    }

    /// Returns the answers since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            not_found: self.not_found.saturating_sub(earlier.not_found),
            server_errors: self.server_errors.saturating_sub(earlier.server_errors),
        }
    }
}

/// A cache line, so that no two threads write to the same line. Processors fetch lines in pairs; the adjacent line
/// belongs to the same thread, since each thread allocates in separate pages.
#[derive(Default)]
#[repr(align(64))]
struct Stripe {
    requests: Count,
    not_found: Count,
    server_errors: Count,
}

/// Counts of one environment for all versions. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tally(Stripes<Stripe>);

impl Tally {
    /// Counts one request without a lock or allocation, on a counter that mostly only this thread writes.
    #[inline]
    pub fn count(&self, status: StatusCode) {
        let slot = Slot::here();
        let Some(stripe) = self.0.at(slot) else { return };
        stripe.requests.add(1, slot);
        if status == StatusCode::NOT_FOUND {
            stripe.not_found.add(1, slot);
        } else if status.is_server_error() {
            stripe.server_errors.add(1, slot);
        }
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn answers(&self) -> Answers {
        self.0.iter().fold(Answers::default(), |sum, stripe| Answers {
            requests: sum.requests + stripe.requests.get(),
            not_found: sum.not_found + stripe.not_found.get(),
            server_errors: sum.server_errors + stripe.server_errors.get(),
        })
    }
}

struct Noted {
    tally: Tally,
    /// Snapshots, oldest first; only snapshots that differ from the previous one.
    notes: VecDeque<Note>,
}

/// Counts at a moment, and the live version from then on.
#[derive(Clone, Copy)]
struct Note {
    at: Instant,
    answers: Answers,
    live: Option<VersionId>,
}

/// Tallies of every environment. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tallies(Arc<Mutex<HashMap<(String, String), Noted>>>);

impl Tallies {
    /// Returns the tally of an app's environment.
    #[must_use]
    pub fn of(&self, app: &str, environment: &str) -> Tally {
        let mut all = self.0.lock();
        let noted = all.entry((app.to_owned(), environment.to_owned())).or_insert_with(|| Noted {
            tally: Tally::default(),
            notes: VecDeque::from([Note { at: Instant::now(), answers: Answers::default(), live: None }]),
        });
        noted.tally.clone()
    }

    /// Returns the requests of each environment with any requests.
    #[must_use]
    pub fn requests(&self) -> Vec<(String, String, u64)> {
        let all = self.0.lock();
        let counted =
            all.iter().map(|((app, name), noted)| (app.clone(), name.clone(), noted.tally.answers().requests));
        counted.filter(|(_, _, requests)| *requests > 0).collect()
    }

    /// Records that `version` goes live: earlier counts belong to earlier versions.
    pub fn switched(&self, app: &str, environment: &str, version: VersionId) {
        let mut all = self.0.lock();
        let Some(Noted { tally, notes }) = all.get_mut(&(app.to_owned(), environment.to_owned())) else { return };
        let note = Note { at: Instant::now(), answers: tally.answers(), live: Some(version) };
        match notes.back_mut() {
            Some(last) if last.live == note.live => {}
            // No answers since the last snapshot: an environment without requests keeps one snapshot.
            Some(last) if last.answers == note.answers => *last = note,
            _ => notes.push_back(note),
        }
    }

    /// Takes a snapshot of every count; must be called every [`TALLY_EVERY`]. Snapshots older than `span` are dropped.
    pub fn note(&self, span: Duration) {
        let now = Instant::now();
        let mut all = self.0.lock();
        // The environment is no longer served or read.
        all.retain(|_, noted| noted.tally.0.is_shared());
        for Noted { tally, notes } in all.values_mut() {
            let answers = tally.answers();
            let last = notes.back().copied();
            if last.is_none_or(|last| last.answers != answers) {
                // Most environments of an edge with many apps have two.
                if notes.len() < NOTES_EXPECTED {
                    notes.reserve_exact(1);
                }
                notes.push_back(Note { at: now, answers, live: last.and_then(|last| last.live) });
            }
            // One snapshot before the span stays, as the base of later counts.
            while notes.get(1).is_some_and(|note| now.duration_since(note.at) >= span) {
                notes.pop_front();
            }
            if notes.len() == 1 {
                notes.shrink_to_fit();
            }
        }
    }

    /// Returns the answers within the last `span` while `version` was live. The limits are exact at the switches to and
    /// from the version, and exact to [`TALLY_EVERY`] at the beginning of the span.
    #[must_use]
    pub fn recent(&self, app: &str, environment: &str, span: Duration, version: &VersionId) -> Answers {
        let now = Instant::now();
        let all = self.0.lock();
        let Some(noted) = all.get(&(app.to_owned(), environment.to_owned())) else { return Answers::default() };
        let (mut sum, mut until) = (Answers::default(), noted.tally.answers());
        for note in noted.notes.iter().rev() {
            if note.live.as_ref() == Some(version) {
                sum = sum.plus(until.since(note.answers));
            }
            if now.duration_since(note.at) >= span {
                break;
            }
            until = note.answers;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_of_any_thread_is_lost() {
        /// More threads than stripes.
        const THREADS: u8 = 32;
        let tallies = Tallies::default();
        let tally = tallies.of("shop", "prod");
        let (version, span) = (VersionId::of(b"one"), Duration::from_secs(60));
        tallies.switched("shop", "prod", version);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::BAD_GATEWAY] {
                        (0..1_000).for_each(|_| tally.count(status));
                    }
                });
            }
        });
        let threads = u64::from(THREADS);
        let all = Answers { requests: threads * 3_000, not_found: threads * 1_000, server_errors: threads * 1_000 };
        assert_eq!(tally.answers(), all);
        assert_eq!(tallies.recent("shop", "prod", span, &version), all);
        assert_eq!(tallies.recent("shop", "staging", span, &version), Answers::default());
    }

    #[test]
    fn each_version_has_what_was_answered_while_it_was_live() {
        let tallies = Tallies::default();
        let tally = tallies.of("shop", "prod");
        let (good, bad) = (VersionId::of(b"good"), VersionId::of(b"bad"));
        let span = Duration::from_secs(60);
        for (version, status) in [(good, StatusCode::OK), (bad, StatusCode::NOT_FOUND), (good, StatusCode::OK)] {
            tallies.switched("shop", "prod", version);
            tally.count(status);
            // Snapshots in between and repeated reads have no effect.
            tallies.note(span);
            tallies.switched("shop", "prod", version);
            tally.count(status);
        }
        let recent = |version| tallies.recent("shop", "prod", span, version);
        assert_eq!(recent(&good), Answers { requests: 4, not_found: 0, server_errors: 0 });
        assert_eq!(recent(&bad), Answers { requests: 2, not_found: 2, server_errors: 0 });
    }

    #[test]
    fn what_is_older_than_the_span_does_not_count() {
        let tallies = Tallies::default();
        let tally = tallies.of("shop", "prod");
        let version = VersionId::of(b"one");
        tallies.switched("shop", "prod", version);
        tally.count(StatusCode::OK);
        tallies.note(Duration::ZERO);
        tally.count(StatusCode::NOT_FOUND);
        let recent = tallies.recent("shop", "prod", Duration::ZERO, &version);
        assert_eq!(recent, Answers { requests: 1, not_found: 1, server_errors: 0 });
        tallies.note(Duration::ZERO);
        assert_eq!(tallies.recent("shop", "prod", Duration::ZERO, &version), Answers::default());
        drop(tally);
        tallies.note(Duration::ZERO);
        assert!(tallies.0.lock().is_empty(), "nobody serves there any more");
    }
}
