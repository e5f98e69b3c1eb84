//! Conformance tests of catalogs: one list of cases, mounted on each implementation by `conformance!`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast::Sender;
use tokio::sync::broadcast::error::TryRecvError;
use tokio_util::sync::CancellationToken;

use super::overtaken::Overtaken;
use super::scan::Scan;
use super::{Catalog, Change, Check, Commit, Committed, Error, Record, Revision};
use crate::records::follow::{Follow, FollowStep, FollowedChange, FollowedCommit};
use crate::records::table::{FollowedBy, RecordKind};

/// A catalog under test, which can be closed and opened again.
#[async_trait]
pub(super) trait Harness: Sized + Send {
    /// Upper bound of the length of a value in the tests.
    const VALUE_BYTES_MAX: u32 = 2_000_000;

    async fn start() -> Self;
    fn catalog(&self) -> Arc<dyn Catalog>;
    async fn restart(self) -> Self;
}

macro_rules! cases {
    ($then:ident $harness:ty) => {
        $crate::catalog::conformance::$then! { @ $harness:
            a_record_is_what_was_put,
            a_failed_check_changes_nothing_and_names_its_key,
            absent_holds_only_where_nothing_is,
            a_deleted_record_can_be_put_again_and_its_old_revision_never_matches,
            changes_of_a_commit_happen_together_and_in_their_order,
            a_listing_is_in_the_order_of_bytes_and_stays_in_its_prefix,
            pages_go_both_ways_and_miss_nothing,
            odd_pages_are_empty_or_whole,
            a_scan_reads_each_record_once_whatever_its_pages,
            watchers_see_each_commit_in_order_and_no_refused_one,
            revisions_rise_also_after_a_restart,
            law_5_concurrent_increments_lose_nothing,
            of_two_who_create_one_wins,
            a_commit_of_nothing_still_has_a_revision,
            large_and_empty_values_come_back,
            many_records_are_read_each_in_its_place,
            a_commit_of_many_checks_is_made_only_while_all_of_them_hold,
            a_follower_reads_at_first_and_gets_each_commit_in_order,
            a_follower_that_missed_commits_reads_everything_again,
            a_follower_whose_reading_fails_reads_again,
            a_follower_ends_when_it_is_stopped,
        }
    };
}
pub(super) use cases;

/// A test for each case.
macro_rules! conformance {
    ($harness:ty) => {
        $crate::catalog::conformance::cases! { conformance $harness }
    };
    (@ $harness:ty: $($case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::catalog::conformance::$case(<$harness as $crate::catalog::conformance::Harness>::start().await)
                    .await;
            }
        )+
    };
}
pub(super) use conformance;

/// A future that runs every case in sequence, for an implementation with a slow start of its server.
macro_rules! every_case {
    ($harness:ty) => {
        $crate::catalog::conformance::cases! { every_case $harness }
    };
    (@ $harness:ty: $($case:ident,)+) => {
        async {
            $(
                eprintln!("{}", stringify!($case));
                let harness = <$harness as $crate::catalog::conformance::Harness>::start().await;
                Box::pin($crate::catalog::conformance::$case(harness)).await;
            )+
        }
    };
}
pub(super) use every_case;

fn put(key: &str, value: &str) -> Change {
    Change::Put(key.to_owned(), value.as_bytes().into())
}

fn delete(key: &str) -> Change {
    Change::Delete(key.to_owned())
}

fn at(key: &str, revision: Revision) -> Check {
    Check::At(key.to_owned(), revision)
}

fn absent(key: &str) -> Check {
    Check::Absent(key.to_owned())
}

async fn commit(catalog: &dyn Catalog, checks: &[Check], changes: &[Change]) -> Result<Revision, Error> {
    catalog.commit(Commit { checks: checks.to_vec(), changes: changes.to_vec() }).await
}

async fn value(catalog: &dyn Catalog, key: &str) -> Option<String> {
    let record = catalog.get(key).await.unwrap()?;
    Some(String::from_utf8(record.value.to_vec()).unwrap())
}

async fn keys(
    catalog: &dyn Catalog,
    prefix: &str,
    after: Option<&str>,
    newest_first: bool,
    limit: usize,
) -> Vec<String> {
    let listed = catalog.list(prefix, after, newest_first, limit).await.unwrap();
    listed.into_iter().map(|(key, _)| key).collect()
}

fn conflict_at(result: Result<Revision, Error>) -> String {
    match result {
        Err(Error::Conflict { key }) => key,
        other => panic!("a conflict was expected and not {other:?}"),
    }
}

pub(super) async fn a_record_is_what_was_put(harness: impl Harness) {
    let catalog = harness.catalog();
    assert_eq!(catalog.get("a").await.unwrap(), None);
    let first = commit(&*catalog, &[], &[put("a", "1")]).await.unwrap();
    let second = commit(&*catalog, &[], &[put("b", "2")]).await.unwrap();
    assert!(first < second);
    let record = |value: &str, revision| Some(Record { value: value.as_bytes().into(), revision });
    assert_eq!(catalog.get("a").await.unwrap(), record("1", first));
    assert_eq!(catalog.get("b").await.unwrap(), record("2", second));
    let restarted = harness;
    drop(catalog);
    let catalog = restarted.restart().await.catalog();
    assert_eq!(catalog.get("a").await.unwrap(), record("1", first));
}

pub(super) async fn a_failed_check_changes_nothing_and_names_its_key(harness: impl Harness) {
    let catalog = harness.catalog();
    let first = commit(&*catalog, &[], &[put("a", "1")]).await.unwrap();
    let second = commit(&*catalog, &[at("a", first)], &[put("a", "2")]).await.unwrap();
    let checks = [at("a", second), at("a", first), absent("a")];
    let result = commit(&*catalog, &checks, &[put("a", "3"), put("b", "3")]).await;
    assert_eq!(conflict_at(result), "a");
    assert_eq!(conflict_at(commit(&*catalog, &[at("b", first)], &[put("b", "3")]).await), "b");
    assert_eq!(value(&*catalog, "a").await.as_deref(), Some("2"));
    assert_eq!(value(&*catalog, "b").await, None);
    commit(&*catalog, &[at("a", second)], &[put("a", "4")]).await.unwrap();
}

pub(super) async fn absent_holds_only_where_nothing_is(harness: impl Harness) {
    let catalog = harness.catalog();
    commit(&*catalog, &[absent("a")], &[put("a", "1")]).await.unwrap();
    assert_eq!(conflict_at(commit(&*catalog, &[absent("a")], &[put("a", "2")]).await), "a");
    assert_eq!(conflict_at(commit(&*catalog, &[absent("b"), absent("a")], &[put("b", "2")]).await), "a");
    assert_eq!(value(&*catalog, "b").await, None);
}

pub(super) async fn a_deleted_record_can_be_put_again_and_its_old_revision_never_matches(harness: impl Harness) {
    let catalog = harness.catalog();
    let first = commit(&*catalog, &[], &[put("a", "1")]).await.unwrap();
    commit(&*catalog, &[at("a", first)], &[delete("a"), delete("never there")]).await.unwrap();
    assert_eq!(catalog.get("a").await.unwrap(), None);
    assert_eq!(conflict_at(commit(&*catalog, &[at("a", first)], &[put("a", "2")]).await), "a");
    commit(&*catalog, &[absent("a")], &[put("a", "1")]).await.unwrap();
    assert_eq!(conflict_at(commit(&*catalog, &[at("a", first)], &[put("a", "2")]).await), "a");
}

pub(super) async fn changes_of_a_commit_happen_together_and_in_their_order(harness: impl Harness) {
    let catalog = harness.catalog();
    let changes = [put("a", "1"), put("b", "1"), delete("a"), put("c", "1"), put("c", "2")];
    let revision = commit(&*catalog, &[], &changes).await.unwrap();
    let listed = catalog.list("", None, false, 10).await.unwrap();
    let found: Vec<_> = listed.iter().map(|(key, record)| (key.as_str(), &*record.value, record.revision)).collect();
    assert_eq!(found, [("b", b"1".as_slice(), revision), ("c", b"2", revision)]);
}

pub(super) async fn a_listing_is_in_the_order_of_bytes_and_stays_in_its_prefix(harness: impl Harness) {
    let catalog = harness.catalog();
    let all = ["a", "a/", "a/1", "a/1/x", "a/2", "a/\u{e9}", "a/\u{10ffff}", "a0", "aa", "b/1"];
    let changes: Vec<Change> = all.iter().rev().map(|key| put(key, "")).collect();
    commit(&*catalog, &[], &changes).await.unwrap();
    let inside = ["a/", "a/1", "a/1/x", "a/2", "a/\u{e9}", "a/\u{10ffff}"];
    assert_eq!(keys(&*catalog, "a/", None, false, 100).await, inside);
    let mut backwards = inside;
    backwards.reverse();
    assert_eq!(keys(&*catalog, "a/", None, true, 100).await, backwards);
    assert_eq!(keys(&*catalog, "", None, false, 100).await, all);
    assert_eq!(keys(&*catalog, "c", None, false, 100).await, [""; 0]);
    assert_eq!(keys(&*catalog, "a/\u{10ffff}", None, true, 100).await, ["a/\u{10ffff}"]);
}

pub(super) async fn pages_go_both_ways_and_miss_nothing(harness: impl Harness) {
    let catalog = harness.catalog();
    let all: Vec<String> = (0..23).map(|n| format!("h/{n:016}")).collect();
    let mut changes: Vec<Change> = all.iter().map(|key| put(key, "")).collect();
    changes.extend([put("g/9", ""), put("h0", "")]);
    commit(&*catalog, &[], &changes).await.unwrap();
    for newest_first in [false, true] {
        let mut expected = all.clone();
        if newest_first {
            expected.reverse();
        }
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = keys(&*catalog, "h/", after.as_deref(), newest_first, 5).await;
            assert!(page.len() <= 5);
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            found.extend(page);
        }
        assert_eq!(found, expected);
    }
}

pub(super) async fn odd_pages_are_empty_or_whole(harness: impl Harness) {
    let catalog = harness.catalog();
    commit(&*catalog, &[], &[put("b/1", ""), put("b/3", ""), put("c", "")]).await.unwrap();
    let list = |after, newest_first, limit| keys(&*catalog, "b/", after, newest_first, limit);
    assert_eq!(list(None, false, 0).await, [""; 0]);
    assert_eq!(list(None, true, 0).await, [""; 0]);
    // A missing key, before, between, after and outside the existing keys.
    assert_eq!(list(Some("b/2"), false, 9).await, ["b/3"]);
    assert_eq!(list(Some("b/2"), true, 9).await, ["b/1"]);
    assert_eq!(list(Some("a"), false, 9).await, ["b/1", "b/3"]);
    assert_eq!(list(Some("a"), true, 9).await, [""; 0]);
    assert_eq!(list(Some("z"), false, 9).await, [""; 0]);
    assert_eq!(list(Some("z"), true, 9).await, ["b/3", "b/1"]);
    assert_eq!(list(Some("b/1"), true, 9).await, [""; 0]);
    assert_eq!(list(Some("b/"), true, 9).await, [""; 0]);
    assert_eq!(list(Some("b/3"), false, 9).await, [""; 0]);
}

pub(super) async fn a_scan_reads_each_record_once_whatever_its_pages(harness: impl Harness) {
    let catalog = harness.catalog();
    let all: Vec<String> = (0..7).map(|number| format!("a/{number}")).collect();
    let outside = ["a", "a0", "b/1"].map(str::to_owned);
    let changes: Vec<Change> = all.iter().chain(&outside).map(|key| put(key, "")).collect();
    commit(&*catalog, &[], &changes).await.unwrap();
    let newest_first: Vec<String> = all.iter().rev().cloned().collect();
    for records in [1, 2, 6, 7, 8, 100] {
        let scan = || Scan::new(&*catalog, "a/").pages_of(records);
        assert_eq!(scanned(scan()).await, all, "pages of {records}");
        assert_eq!(scanned(scan().newest_first()).await, newest_first, "pages of {records}");
        assert_eq!(scanned(scan().after(Some("a/4".to_owned()))).await, all[5..], "pages of {records}");
        let mut cut = scan().at_most(5);
        let mut found = vec![cut.next().await.unwrap().unwrap().0];
        loop {
            // The rest of a started page, then whole pages.
            let page = cut.next_page().await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page.into_iter().map(|(key, _)| key));
        }
        assert_eq!((found, cut.was_cut()), (all[..5].to_vec(), true), "pages of {records}");
    }
    let mut nothing = Scan::new(&*catalog, "c/").at_most(5);
    assert!(nothing.next().await.unwrap().is_none() && nothing.next_page().await.unwrap().is_empty());
    assert!(!nothing.was_cut());
}

async fn scanned(mut scan: Scan<'_>) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((key, _)) = scan.next().await.unwrap() {
        found.push(key);
    }
    found
}

pub(super) async fn watchers_see_each_commit_in_order_and_no_refused_one(harness: impl Harness) {
    let catalog = harness.catalog();
    commit(&*catalog, &[], &[put("before", "")]).await.unwrap();
    let (mut one, mut two) = (catalog.watch(), catalog.watch());
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let catalog = Arc::clone(&catalog);
            tokio::spawn(async move {
                for n in 0..5 {
                    commit(&*catalog, &[], &[put(&format!("{task}/{n}"), "x")]).await.unwrap();
                    conflict_at(commit(&*catalog, &[absent(&format!("{task}/{n}"))], &[put("no", "")]).await);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut last = 0;
    let mut found = BTreeSet::new();
    for _ in 0..20 {
        let committed = one.try_recv().unwrap();
        assert_eq!(two.try_recv().unwrap(), committed);
        assert!(committed.revision > last);
        last = committed.revision;
        let [Change::Put(key, _)] = &*committed.changes else { panic!("{committed:?}") };
        // A commit that a watcher has seen can be read.
        assert_eq!(catalog.get(key).await.unwrap().unwrap().revision, committed.revision);
        found.insert(key.clone());
    }
    assert_eq!(found.len(), 20);
    assert_eq!(one.try_recv(), Err(TryRecvError::Empty));
}

pub(super) async fn revisions_rise_also_after_a_restart(mut harness: impl Harness) {
    let mut last = 0;
    for _ in 0..3 {
        let catalog = harness.catalog();
        for _ in 0..3 {
            let revision = commit(&*catalog, &[], &[put("a", "")]).await.unwrap();
            assert!(revision > last);
            last = revision;
        }
        // Even without a record of that revision, the revision is not forgotten.
        last = commit(&*catalog, &[], &[delete("a")]).await.unwrap();
        drop(catalog);
        harness = harness.restart().await;
    }
}

pub(super) async fn law_5_concurrent_increments_lose_nothing(harness: impl Harness) {
    let catalog = harness.catalog();
    commit(&*catalog, &[absent("n")], &[put("n", "0")]).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let catalog = Arc::clone(&catalog);
            tokio::spawn(async move {
                let mut done = 0;
                while done < 5 {
                    let record = catalog.get("n").await.unwrap().unwrap();
                    let n: u64 = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
                    let changes = [put("n", &(n + 1).to_string()), put(&format!("by/{n:04}"), &task.to_string())];
                    match commit(&*catalog, &[at("n", record.revision)], &changes).await {
                        Ok(_) => done += 1,
                        Err(Error::Conflict { key }) => assert_eq!(key, "n"),
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(value(&*catalog, "n").await.as_deref(), Some("40"));
    assert_eq!(keys(&*catalog, "by/", None, false, 100).await.len(), 40);
}

pub(super) async fn of_two_who_create_one_wins(harness: impl Harness) {
    let catalog = harness.catalog();
    let changes = [put("a", "")];
    let checks = [absent("a")];
    let (one, two) = tokio::join!(commit(&*catalog, &checks, &changes), commit(&*catalog, &checks, &changes));
    assert!(one.is_ok() != two.is_ok());
}

pub(super) async fn a_commit_of_nothing_still_has_a_revision(harness: impl Harness) {
    let catalog = harness.catalog();
    let first = commit(&*catalog, &[], &[]).await.unwrap();
    assert!(commit(&*catalog, &[absent("a")], &[]).await.unwrap() > first);
}

pub(super) async fn large_and_empty_values_come_back<H: Harness>(harness: H) {
    let catalog = harness.catalog();
    let length = usize::try_from(H::VALUE_BYTES_MAX).unwrap();
    let large: Arc<[u8]> = (0..H::VALUE_BYTES_MAX).flat_map(u32::to_le_bytes).take(length).collect();
    let changes = vec![Change::Put("large".to_owned(), Arc::clone(&large)), put("empty", "")];
    catalog.commit(Commit { checks: vec![], changes }).await.unwrap();
    assert_eq!(catalog.get("large").await.unwrap().unwrap().value, large);
    assert_eq!(value(&*catalog, "empty").await.as_deref(), Some(""));
}

pub(super) async fn many_records_are_read_each_in_its_place(harness: impl Harness) {
    let catalog = harness.catalog();
    let changes = vec![put("a", "1"), put("b", "2"), put("ab", "3")];
    let revision = catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    let keys: Vec<String> = ["b", "c", "a", "b", "", "ab"].map(str::to_owned).into();
    let found = catalog.get_all(&keys).await.unwrap();
    let record = |value: &str| Some(Record { value: value.as_bytes().into(), revision });
    assert_eq!(found, [record("2"), None, record("1"), record("2"), None, record("3")]);
    assert_eq!(catalog.get_all(&[]).await.unwrap(), []);
}

/// More checks than any store compares in one request: a version is collected only while no alias of its app has moved.
pub(super) async fn a_commit_of_many_checks_is_made_only_while_all_of_them_hold(harness: impl Harness) {
    let catalog = harness.catalog();
    let here = commit(&*catalog, &[], &[put("here", "1")]).await.unwrap();
    let many = || (0..400).map(|number| absent(&format!("none/{number}"))).chain([at("here", here)]);
    let checks: Vec<Check> = many().collect();
    let first = commit(&*catalog, &checks, &[put("made", "1")]).await.unwrap();
    assert_eq!(value(&*catalog, "made").await.as_deref(), Some("1"));
    commit(&*catalog, &[], &[put("none/311", "now it is")]).await.unwrap();
    assert_eq!(conflict_at(commit(&*catalog, &checks, &[put("made", "2")]).await), "none/311");
    commit(&*catalog, &[], &[delete("none/311")]).await.unwrap();
    // Of concurrent commits one is first, and the checks of the rest fail.
    let racers = (0..8).map(|number| {
        let (catalog, checks) = (Arc::clone(&catalog), many().chain([at("made", first)]).collect::<Vec<_>>());
        tokio::spawn(async move { commit(&*catalog, &checks, &[put("made", &number.to_string())]).await })
    });
    let mut won = 0;
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert!(matches!(error, Error::Conflict { .. }), "{error}"),
        }
    }
    assert_eq!(won, 1);
}

/// The key of a record that the follower of webhooks hears of, and that of one that it does not.
const FOLLOWED: &str = "webhook-waiting/shop/chat/1";
const NOT_FOLLOWED: &str = "webhooks-added/shop";

/// The step of a commit that changed the followed record alone.
fn followed(revision: Revision, value: Option<&str>) -> Option<FollowStep> {
    let (kind, key) = (RecordKind::WaitingMessage, FOLLOWED.to_owned());
    let changes = vec![FollowedChange { kind, key, value: value.map(|value| value.as_bytes().into()) }];
    Some(FollowStep::Changes(FollowedCommit { revision, changes, went_back: false }))
}

pub(super) async fn a_follower_reads_at_first_and_gets_each_commit_in_order(harness: impl Harness) {
    let catalog = harness.catalog();
    let mut follow = Follow::new(&*catalog, FollowedBy::Webhooks);
    let mixed = [put(NOT_FOLLOWED, "{}"), put(FOLLOWED, "1"), put("of-a-later-release/shop", "")];
    let first = commit(&*catalog, &[], &mixed).await.unwrap();
    let second = commit(&*catalog, &[], &[put(NOT_FOLLOWED, "{}")]).await.unwrap();
    let third = commit(&*catalog, &[], &[delete(FOLLOWED)]).await.unwrap();
    // What was committed before the reading is in it, and follows it.
    assert_eq!(follow.next().await, Some(FollowStep::ReadAll));
    assert_eq!(follow.next().await, followed(first, Some("1")));
    let of_others = FollowedCommit { revision: second, changes: Vec::new(), went_back: false };
    assert_eq!(follow.next().await, Some(FollowStep::Changes(of_others)));
    assert_eq!(follow.next_now(), Poll::Ready(followed(third, None)));
    assert_eq!(follow.next_now(), Poll::Pending);
    // A follower that reads everything after a change does so for the followed record, and not for the other one.
    let mut follow = Follow::new(&*catalog, FollowedBy::Webhooks).begun();
    commit(&*catalog, &[], &[put(NOT_FOLLOWED, "{}")]).await.unwrap();
    commit(&*catalog, &[], &[put(FOLLOWED, "2")]).await.unwrap();
    assert!(follow.changed().await);
    assert_eq!(follow.next_now(), Poll::Pending);
}

pub(super) async fn a_follower_that_missed_commits_reads_everything_again(harness: impl Harness) {
    let (catalog, sender) = (Overtaken::new(harness.catalog()), Sender::new(1));
    catalog.announce_by(&sender);
    let mut follow = Follow::new(&*catalog, FollowedBy::Webhooks).begun();
    let mut last = 0;
    for number in ["1", "2", "3"] {
        last = commit(&*catalog, &[], &[put(FOLLOWED, number)]).await.unwrap();
        sender.send(Committed { revision: last, changes: [put(FOLLOWED, number)].into() }).unwrap();
    }
    assert_eq!(follow.next().await, Some(FollowStep::ReadAll));
    assert_eq!(value(&*catalog, FOLLOWED).await.as_deref(), Some("3"));
    assert_eq!(follow.next().await, followed(last, Some("3")));
    assert_eq!(follow.next_now(), Poll::Pending);
}

pub(super) async fn a_follower_whose_reading_fails_reads_again(harness: impl Harness) {
    let catalog = Overtaken::new(harness.catalog());
    commit(&*catalog, &[], &[put(FOLLOWED, "1")]).await.unwrap();
    let mut follow = Follow::new(&*catalog, FollowedBy::Webhooks).with_pause(Duration::from_millis(5));
    catalog.fail_listings(2);
    for is_read in [false, false, true] {
        assert_eq!(follow.next().await, Some(FollowStep::ReadAll));
        let read = catalog.list(RecordKind::WaitingMessage.prefix(), None, false, 9).await;
        assert_eq!(read.as_ref().is_ok_and(|found| found.len() == 1), is_read, "{read:?}");
        if read.is_err() {
            follow.read_failed();
        }
    }
    // Nothing is read once more, and commits go on.
    let revision = commit(&*catalog, &[], &[put(FOLLOWED, "2")]).await.unwrap();
    assert_eq!(follow.next().await, followed(revision, Some("2")));
}

pub(super) async fn a_follower_ends_when_it_is_stopped(harness: impl Harness) {
    let (catalog, stop) = (harness.catalog(), CancellationToken::new());
    let mut follow = Follow::new(&*catalog, FollowedBy::Webhooks).begun().until(stop.clone());
    let waits = tokio::spawn(async move { (follow.next().await, follow) });
    stop.cancel();
    let (step, mut follow) = waits.await.unwrap();
    assert_eq!(step, None);
    commit(&*catalog, &[], &[put(FOLLOWED, "1")]).await.unwrap();
    assert_eq!(follow.next_now(), Poll::Ready(None));
    assert!(!follow.changed().await);
}
