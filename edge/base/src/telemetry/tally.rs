//! Cheap counts of an environment's answers by status, with snapshots of the last minutes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_config::VersionId;
use http::StatusCode;
use parking_lot::Mutex;

use super::stripes::{Count, Slot, Stripes};

/// Up to so many snapshots of an environment, memory is taken for each alone.
const NOTES_EXPECTED: usize = 4;
/// Interval of snapshots.
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
    const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            not_found: self.not_found.saturating_add(other.not_found),
            server_errors: self.server_errors.saturating_add(other.server_errors),
        }
    }

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

/// A cache line: no thread writes to what another one writes to. Processors fetch two at a time; the one beside it is
/// of the same thread too, as each allocates in pages of its own.
#[derive(Default)]
#[repr(align(64))]
struct Stripe {
    requests: Count,
    not_found: Count,
    server_errors: Count,
}

/// The counts of one environment, of whichever version answered. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tally(Stripes<Stripe>);

impl Tally {
    /// Counts one request: no lock, no memory, a counter that mostly only this thread writes.
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

    /// The counts so far.
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
    /// The oldest first; only what differs from the one before.
    notes: VecDeque<Note>,
}

/// The counts at a moment, and the version that is live from then on.
#[derive(Clone, Copy)]
struct Note {
    at: Instant,
    answers: Answers,
    live: Option<VersionId>,
}

/// The tallies of every environment. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tallies(Arc<Mutex<HashMap<(String, String), Noted>>>);

impl Tallies {
    /// The tally of an app's environment.
    #[must_use]
    pub fn of(&self, app: &str, environment: &str) -> Tally {
        let mut all = self.0.lock();
        let noted = all.entry((app.to_owned(), environment.to_owned())).or_insert_with(|| Noted {
            tally: Tally::default(),
            notes: VecDeque::from([Note { at: Instant::now(), answers: Answers::default(), live: None }]),
        });
        noted.tally.clone()
    }

    /// Requests of each environment so far, of those that had any.
    #[must_use]
    pub fn requests(&self) -> Vec<(String, String, u64)> {
        let all = self.0.lock();
        let counted =
            all.iter().map(|((app, name), noted)| (app.clone(), name.clone(), noted.tally.answers().requests));
        counted.filter(|(_, _, requests)| *requests > 0).collect()
    }

    /// Notes that `version` goes live: what was counted until now was not answered by it.
    pub fn switched(&self, app: &str, environment: &str, version: VersionId) {
        let mut all = self.0.lock();
        let Some(Noted { tally, notes }) = all.get_mut(&(app.to_owned(), environment.to_owned())) else { return };
        let note = Note { at: Instant::now(), answers: tally.answers(), live: Some(version) };
        match notes.back_mut() {
            Some(last) if last.live == note.live => {}
            // Nothing was answered since: of an environment without requests one note stays.
            Some(last) if last.answers == note.answers => *last = note,
            _ => notes.push_back(note),
        }
    }

    /// Notes every count; to be called every [`TALLY_EVERY`]. What is older than `span` is forgotten.
    pub fn note(&self, span: Duration) {
        let now = Instant::now();
        let mut all = self.0.lock();
        // Nothing is served there any more, and nobody looks.
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
            // One from before the span stays: what came since is counted from there.
            while notes.get(1).is_some_and(|note| now.duration_since(note.at) >= span) {
                notes.pop_front();
            }
            if notes.len() == 1 {
                notes.shrink_to_fit();
            }
        }
    }

    /// Answers within the last `span` while `version` was live, as exactly as they were noted: to the request
    /// where it went live and where another one did, to [`TALLY_EVERY`] where the span begins.
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
        /// More than there are stripes.
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
            // What is noted in between, or read twice, changes nothing.
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
