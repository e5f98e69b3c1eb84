//! Following records: every commit with its changes of some kinds, and when all records are to be read.
//!
//! A loop that follows the catalog takes each [`FollowStep`] and says how it takes in a commit, and how it reads
//! everything. [`Follow`] decides which of the two is due. A full reading is due at first, after commits were missed,
//! after the catalog went back to an earlier state, and again after one that failed.

use std::future::pending;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use devanture_config::{AppName, PlaceName};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::table::{FollowedBy, RecordKind, kind_of, kinds_of};
use crate::catalog::{Catalog, Change, Committed, Revision};

/// The pause after a reading that failed, where the follower sets no other. It doubles with each failure …
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// … up to this one.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The next work of a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowStep {
    /// All records of its kinds are to be read. Commits that were in the reading may still follow it.
    ReadAll,
    /// A commit is to be taken in.
    Changes(FollowedCommit),
}

/// A commit, as a follower gets it. Every commit is one, also without a change that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedCommit {
    /// The commit.
    pub revision: Revision,
    /// Its changes of the kinds that are followed, in their order.
    pub changes: Vec<FollowedChange>,
    /// Whether it is not after the commit before, as where the catalog of a cluster was restored from a snapshot. All
    /// revisions that are remembered are of a state that is gone, and a full reading is due next.
    pub went_back: bool,
}

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedChange {
    /// The kind of the record.
    pub kind: RecordKind,
    /// Its key.
    pub key: String,
    /// Its value; `None` once it is deleted.
    pub value: Option<Arc<[u8]>>,
}

/// A watch of the catalog for one follower. Its kinds of records are those whose rows of the table name it.
pub struct Follow {
    /// The prefix of each kind, so that most keys need no look into the table.
    kinds: Vec<(&'static str, RecordKind)>,
    follower: FollowedBy,
    commits: Receiver<Committed>,
    stop: CancellationToken,
    due: Due,
    /// The time between two full readings.
    every: Option<Duration>,
    pauses: (Duration, Duration),
    /// The pause after the next reading that fails.
    pause: Duration,
    /// The last commit.
    last: Revision,
}

/// The time of the next full reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Never,
    Now,
    /// Since the last one is long ago.
    At(Instant),
    /// Since the last one failed.
    Retry(Instant),
}

impl Follow {
    /// Follows every commit from now on, with a full reading at first: nothing that is committed in between is missed.
    #[must_use]
    pub fn new(catalog: &dyn Catalog, follower: FollowedBy) -> Self {
        Self {
            kinds: kinds_of(follower).map(|kind| (kind.prefix(), kind)).collect(),
            follower,
            commits: catalog.watch(),
            stop: CancellationToken::new(),
            due: Due::Now,
            every: None,
            pauses: (PAUSE_MIN, PAUSE_MAX),
            pause: PAUSE_MIN,
            last: 0,
        }
    }

    /// Leaves out the first reading, which the follower does itself.
    #[must_use]
    pub fn begun(mut self) -> Self {
        self.reading_begins();
        self
    }

    /// Ends when `stop` is cancelled.
    #[must_use]
    pub fn until(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// Pauses for as long as `pause` after each reading that failed.
    #[must_use]
    pub const fn with_pause(mut self, pause: Duration) -> Self {
        self.pauses = (pause, pause);
        self.pause = pause;
        self
    }

    /// Has everything read again so long after the last full reading.
    #[must_use]
    pub const fn read_every(mut self, every: Duration) -> Self {
        self.every = Some(every);
        self
    }

    /// The next step, when it is due; `None` at the end: no commit will come any more, or the follower was stopped.
    /// Nothing is lost where the future is dropped.
    pub async fn next(&mut self) -> Option<FollowStep> {
        self.reading_has_ended();
        let received = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            () = due(self.due) => return Some(self.read_step()),
            received = self.commits.recv() => received,
        };
        match received {
            Ok(committed) => Some(self.commit_step(&committed)),
            Err(RecvError::Lagged(missed)) => Some(self.lagged(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// As [`Follow::next`], without waiting: pending where no step is due now.
    pub fn next_now(&mut self) -> Poll<Option<FollowStep>> {
        self.reading_has_ended();
        if self.stop.is_cancelled() {
            return Poll::Ready(None);
        }
        let is_due = match self.due {
            Due::Never => false,
            Due::Now => true,
            Due::At(at) | Due::Retry(at) => at <= Instant::now(),
        };
        if is_due {
            return Poll::Ready(Some(self.read_step()));
        }
        match self.commits.try_recv() {
            Ok(committed) => Poll::Ready(Some(self.commit_step(&committed))),
            Err(TryRecvError::Lagged(missed)) => Poll::Ready(Some(self.lagged(missed))),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(TryRecvError::Closed) => Poll::Ready(None),
        }
    }

    /// Waits until everything is to be read, for a follower that does so after each change; false at the end.
    pub async fn changed(&mut self) -> bool {
        loop {
            match self.next().await {
                Some(FollowStep::Changes(commit)) if commit.changes.is_empty() && !commit.went_back => {}
                Some(FollowStep::Changes(_)) => {
                    self.reading_begins();
                    return true;
                }
                Some(FollowStep::ReadAll) => return true,
                None => return false,
            }
        }
    }

    /// Has everything read as the next step.
    pub const fn read_again(&mut self) {
        self.due = Due::Now;
    }

    /// Has everything read again after a pause, since the reading that was due has failed.
    pub fn read_failed(&mut self) {
        self.due = Due::Retry(Instant::now() + self.pause);
        self.pause = self.pause.saturating_mul(2).min(self.pauses.1);
    }

    fn read_step(&mut self) -> FollowStep {
        self.reading_begins();
        FollowStep::ReadAll
    }

    fn reading_begins(&mut self) {
        self.due = self.every.map_or(Due::Never, |every| Due::At(Instant::now() + every));
    }

    /// Begins with the shortest pause again where the last reading did not fail.
    const fn reading_has_ended(&mut self) {
        if !matches!(self.due, Due::Retry(_)) {
            self.pause = self.pauses.0;
        }
    }

    fn lagged(&mut self, missed: u64) -> FollowStep {
        tracing::warn!(missed, follower = ?self.follower, "the watch of the catalog lagged: everything is read again");
        self.read_step()
    }

    fn commit_step(&mut self, committed: &Committed) -> FollowStep {
        let Committed { revision, changes } = committed;
        let went_back = *revision <= self.last;
        if went_back {
            let (follower, before) = (self.follower, self.last);
            tracing::warn!(?follower, revision, before, "the catalog went back to an earlier state, which is followed");
            self.read_again();
        }
        self.last = *revision;
        let changes = changes.iter().filter(|change| self.has_prefix_of(change)).filter_map(FollowedChange::of);
        let changes = changes.filter(|change| self.kinds.iter().any(|(_, kind)| *kind == change.kind)).collect();
        FollowStep::Changes(FollowedCommit { revision: *revision, changes, went_back })
    }

    fn has_prefix_of(&self, change: &Change) -> bool {
        let (Change::Delete(key) | Change::Put(key, _)) = change;
        self.kinds.iter().any(|(prefix, _)| key.starts_with(prefix))
    }
}

impl FollowedChange {
    /// A change of a record; `None` of one whose kind is not known.
    #[must_use]
    pub fn of(change: &Change) -> Option<Self> {
        let (key, value) = match change {
            Change::Delete(key) => (key, None),
            Change::Put(key, value) => (key, Some(Arc::clone(value))),
        };
        Some(Self { kind: kind_of(key)?, key: key.clone(), value })
    }

    /// The part of the key behind its prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.strip_prefix(self.kind.prefix()).unwrap_or_default()
    }

    /// The app that the key names first.
    #[must_use]
    pub fn app(&self) -> Option<AppName> {
        self.name().split('/').next()?.parse().ok()
    }

    /// The app and the environment that the key names first.
    #[must_use]
    pub fn place(&self) -> Option<(AppName, PlaceName)> {
        let mut names = self.name().split('/');
        Some((names.next()?.parse().ok()?, names.next()?.parse().ok()?))
    }
}

/// Waits until then.
async fn due(due: Due) {
    match due {
        Due::Never => pending().await,
        Due::Now => {}
        Due::At(at) | Due::Retry(at) => sleep_until(at).await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::Sender;

    use super::*;
    use crate::catalog::overtaken::Overtaken;

    /// A follower of webhooks that has read everything, and what announces commits to it.
    fn world() -> (tempfile::TempDir, Sender<Committed>, Follow) {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Overtaken::new(crate::catalog::open(&folder.path().join("catalog.redb")).unwrap());
        let sender = Sender::new(8);
        catalog.announce_by(&sender);
        (folder, sender, Follow::new(&*catalog, FollowedBy::Webhooks).begun())
    }

    fn commit(revision: Revision) -> Committed {
        Committed { revision, changes: [Change::Delete("webhooks/shop/chat".to_owned())].into() }
    }

    /// The whole seconds until the next step.
    async fn seconds_to_next(follow: &mut Follow) -> (u64, Option<FollowStep>) {
        let began = Instant::now();
        let step = follow.next().await;
        (began.elapsed().as_secs(), step)
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_while_readings_fail_and_begin_short_after_one_that_did_not() {
        let (_folder, sender, mut follow) = world();
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            follow.read_failed();
            assert_eq!(seconds_to_next(&mut follow).await, (seconds, Some(FollowStep::ReadAll)));
        }
        sender.send(commit(1)).unwrap();
        assert!(matches!(follow.next().await, Some(FollowStep::Changes(_))));
        follow.read_failed();
        assert_eq!(seconds_to_next(&mut follow).await, (1, Some(FollowStep::ReadAll)));
        // Commits are taken in meanwhile.
        follow.read_failed();
        sender.send(commit(2)).unwrap();
        assert!(matches!(seconds_to_next(&mut follow).await, (0, Some(FollowStep::Changes(_)))));
        assert_eq!(seconds_to_next(&mut follow).await, (2, Some(FollowStep::ReadAll)));
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_read_from_time_to_time_where_that_is_wanted() {
        let (_folder, sender, follow) = world();
        let mut follow = follow.read_every(Duration::from_secs(60)).begun();
        sender.send(commit(1)).unwrap();
        assert!(matches!(seconds_to_next(&mut follow).await, (0, Some(FollowStep::Changes(_)))));
        assert_eq!(seconds_to_next(&mut follow).await, (60, Some(FollowStep::ReadAll)));
        tokio::time::advance(Duration::from_secs(50)).await;
        sender.send(commit(2)).unwrap();
        assert!(follow.changed().await, "a change is a reading");
        assert_eq!(seconds_to_next(&mut follow).await, (60, Some(FollowStep::ReadAll)));
    }

    #[tokio::test]
    async fn everything_is_read_after_a_commit_before_the_last_one() {
        let (_folder, sender, mut follow) = world();
        for (revision, expected) in [(5, false), (6, false), (4, true), (5, false)] {
            sender.send(commit(revision)).unwrap();
            let Some(FollowStep::Changes(commit)) = follow.next().await else { panic!("no commit") };
            assert_eq!((commit.revision, commit.went_back), (revision, expected));
            let next = follow.next_now();
            assert_eq!(next == Poll::Ready(Some(FollowStep::ReadAll)), expected, "{next:?}");
        }
        drop(sender);
        assert_eq!(follow.next_now(), Poll::Ready(None), "no commit will come any more");
    }

    #[test]
    fn a_change_names_its_app_and_its_environment() {
        let change = FollowedChange::of(&Change::Delete("scale/shop/prod".to_owned())).unwrap();
        assert_eq!((change.kind, change.name()), (RecordKind::Scale, "shop/prod"));
        assert_eq!(change.app().unwrap().as_str(), "shop");
        assert_eq!(change.place().unwrap().1, PlaceName::prod());
        assert_eq!(FollowedChange::of(&Change::Delete("scale/shop".to_owned())), None);
    }
}
