//! User ids of the instances: each environment has a user id, and all previews of an app share a further user id. The
//! catalog stores numbers, which `runner` maps to ids of the edge's range.

use std::collections::BTreeSet;

use devanture_config::AppName;
use devanture_config::problem::{Code, Problem};

use super::Instances;
use crate::ledger::{Error, SystemWrite, commit_system, unless_conflict, update};
use crate::places::PREVIEW;
use crate::runner::Runner;
use devanture_base::clock;
use devanture_store::catalog::{self, Catalog, Change, Check, Commit};
use devanture_store::records::instances::{
    FREE_UIDS_PREFIX, FreeUidRecord, NextUidRecord, UID_NEXT_KEY, UIDS_PREFIX, UidPairRecord, UidRecord, free_uid_key,
    uid_key, uid_pair_key,
};
use devanture_store::records::{self, gone};

impl Instances {
    /// Assigns a user id to an environment, or to the previews of an app (`preview`), unless assigned already.
    ///
    /// # Errors
    /// `too_many` if all ids of the edge's range are in use.
    pub(crate) async fn give_uid(&self, app: &AppName, place: &str) -> Result<(), Error> {
        let count = self.runner.as_ref().map_or(u32::MAX, Runner::user_ids);
        match give(&*self.ledger.catalog, app, place, count, None).await? {
            UidAssignment::Number(_) => Ok(()),
            UidAssignment::Damaged => {
                let detail =
                    format!("The record of the user id of {place} of {app} is damaged: its files are nobody's.");
                let hint = "restore the catalog from a backup, or delete the environment for good (`devanture delete environment NAME --yes --purge`) and push again";
                Err(Problem::new(Code::NotReady, detail).hint(hint).into())
            }
            UidAssignment::None => {
                let detail =
                    format!("All {count} user ids of the edge are in use, and {place} of {app} needs another.");
                let hint = "make the range `runner.uids` in edge.toml larger, or delete environments that run backends";
                Err(Problem::new(Code::TooMany, detail).hint(hint).into())
            }
        }
    }
}

impl Instances {
    /// Releases the user id of an environment, or of the previews of an app, for reuse. No file or process of the user
    /// may be left.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn free_uid(&self, app: &AppName, place: &str) -> Result<(), Error> {
        let key = uid_key(app, place);
        let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok(()) };
        let UidRecord { number, pair } = records::read(&key, &record)?;
        if pair.is_some() {
            // Files with names in both environments may still belong to the user id.
            return Ok(());
        }
        let free = FreeUidRecord { at_ms: clock::now_ms() };
        let commit = Commit {
            checks: vec![Check::At(key.clone(), record.revision)],
            changes: vec![Change::Delete(key), Change::Put(free_uid_key(number), records::write(&free)?)],
        };
        match commit_system(&*self.ledger.catalog, SystemWrite::Uid, commit).await {
            Ok(_) | Err(catalog::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Result of assigning a user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UidAssignment {
    /// Assigned number.
    Number(u32),
    /// All numbers are in use.
    None,
    /// Unreadable record. A different number would cut the environment off from its files.
    Damaged,
}

/// Returns the user id number of an environment, or assigns a number: the lowest never assigned, or a released number
/// if no new number is below `count`. `pair` is the record of an earlier version of the edge.
async fn give(
    catalog: &dyn Catalog,
    app: &AppName,
    place: &str,
    count: u32,
    pair: Option<LegacyUids>,
) -> Result<UidAssignment, catalog::Error> {
    let key = uid_key(app, place);
    update(&key, || async {
        if let Some(record) = catalog.get(&key).await? {
            let read = records::read::<UidRecord>(&key, &record);
            let read = read.inspect_err(|error| tracing::error!(%app, place, %error, "a user id is damaged"));
            return Ok(Some(read.map_or(UidAssignment::Damaged, |record| UidAssignment::Number(record.number))));
        }
        let mut commit = Commit { checks: vec![Check::Absent(key.clone())], changes: Vec::new() };
        let Some(number) = next(catalog, count, pair.and_then(|pair| pair.number), &mut commit).await? else {
            return Ok(Some(UidAssignment::None));
        };
        let record = UidRecord { number, pair: pair.map(|pair| pair.pair) };
        commit.changes.push(Change::Put(key.clone(), records::write(&record)?));
        let committed = unless_conflict(commit_system(catalog, SystemWrite::Uid, commit).await)?;
        Ok(committed.map(|_revision| UidAssignment::Number(number)))
    })
    .await
}

/// Returns the next number to assign, and adds the changes of the assignment to the commit.
async fn next(
    catalog: &dyn Catalog,
    count: u32,
    of_pair: Option<u32>,
    commit: &mut Commit,
) -> Result<Option<u32>, catalog::Error> {
    if let Some(number) = of_pair {
        return Ok(Some(number));
    }
    let record = catalog.get(UID_NEXT_KEY).await?;
    let next = record.as_ref().map(|record| records::read::<NextUidRecord>(UID_NEXT_KEY, record)).transpose()?;
    let number = next.unwrap_or_default().next();
    if number < count {
        commit.checks.push(Check::of(UID_NEXT_KEY.to_owned(), record.as_ref().map(|record| record.revision)));
        let after = NextUidRecord { next: Some(number.saturating_add(1)), number: None };
        commit.changes.push(Change::Put(UID_NEXT_KEY.to_owned(), records::write(&after)?));
        return Ok(Some(number));
    }
    // The number released first would be better still, but all released numbers are clean.
    for (key, record) in catalog.list(FREE_UIDS_PREFIX, None, false, usize::MAX).await? {
        let number = key.strip_prefix(FREE_UIDS_PREFIX).and_then(|number| number.parse::<u32>().ok());
        if let Some(number) = number.filter(|number| *number < count) {
            commit.checks.push(Check::At(key.clone(), record.revision));
            commit.changes.push(Change::Delete(key));
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// User ids of an app from before the separation by environment.
#[derive(Debug, Clone, Copy)]
struct LegacyUids {
    pair: u32,
    /// Number from the pair for the environment to keep.
    number: Option<u32>,
}

/// Assigns a separate user id to each environment with a backend, for apps with a shared user id from an earlier
/// version of the edge. Previews keep their id, `prod` (or the first environment) keeps the second id, and all other
/// environments get new ids. Must be called before instances start.
///
/// # Errors
/// Errors of the catalog.
pub async fn give_user_ids_apart(catalog: &dyn Catalog) -> Result<(), catalog::Error> {
    for (key, record) in catalog.list(UIDS_PREFIX, None, false, usize::MAX).await? {
        let Some(Ok(app)) = key.strip_prefix(UIDS_PREFIX).map(str::parse::<AppName>) else { continue };
        let pair = match records::read::<UidPairRecord>(&key, &record) {
            Ok(record) => record.number,
            Err(error) => {
                tracing::error!(app = %app, %error, "a record of user ids cannot be read: the app's backends do not run");
                continue;
            }
        };
        let first = pair.saturating_mul(2);
        let preview = LegacyUids { pair, number: Some(first.saturating_add(1)) };
        give(catalog, &app, PREVIEW, u32::MAX, Some(preview)).await?;
        let mut environments = BTreeSet::new();
        for prefix in [records::live_prefix(&app), gone::deleted_environments_prefix(&app)] {
            let found = catalog.list(&prefix, None, false, usize::MAX).await?;
            environments.extend(found.iter().filter_map(|(key, _)| key.strip_prefix(&prefix).map(str::to_owned)));
        }
        let keeps = environments.iter().find(|name| *name == "prod").or_else(|| environments.first()).cloned();
        for name in environments {
            let number = (keeps.as_ref() == Some(&name)).then_some(first);
            give(catalog, &app, &name, u32::MAX, Some(LegacyUids { pair, number })).await?;
        }
        let commit = Commit {
            checks: vec![Check::At(key.clone(), record.revision)],
            changes: vec![Change::Delete(uid_pair_key(&app))],
        };
        commit_system(catalog, SystemWrite::Uid, commit).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn catalog() -> (tempfile::TempDir, Arc<dyn Catalog>) {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        (folder, catalog)
    }

    async fn put(catalog: &dyn Catalog, key: &str, value: serde_json::Value) {
        let changes = vec![Change::Put(key.to_owned(), value.to_string().into_bytes().into())];
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    }

    #[tokio::test]
    async fn a_damaged_record_costs_its_environment_alone() {
        let (_folder, catalog) = catalog();
        let shop: AppName = "shop".parse().unwrap();
        for place in ["prod", "staging"] {
            give(&*catalog, &shop, place, 4, None).await.unwrap();
        }
        put(&*catalog, "live/shop/prod", serde_json::json!({})).await;
        for key in [uid_key(&shop, "prod"), uid_key(&shop, PREVIEW)] {
            put(&*catalog, &key, serde_json::json!("damaged")).await;
        }
        assert_eq!(give(&*catalog, &shop, "prod", 4, None).await.unwrap(), UidAssignment::Damaged);
        assert_eq!(give(&*catalog, &shop, "staging", 4, None).await.unwrap(), UidAssignment::Number(1));
        // Neither the pair of an earlier version nor a start fails because of damaged records.
        put(&*catalog, &uid_pair_key(&shop), serde_json::json!({ "number": 7 })).await;
        give_user_ids_apart(&*catalog).await.unwrap();
        assert_eq!(give(&*catalog, &shop, "staging", 4, None).await.unwrap(), UidAssignment::Number(1));
    }

    #[tokio::test]
    async fn every_environment_gets_a_number_of_its_own_and_keeps_it() {
        let (_folder, catalog) = catalog();
        let (shop, game): (AppName, AppName) = ("shop".parse().unwrap(), "game".parse().unwrap());
        let places = [(&shop, "prod"), (&shop, PREVIEW), (&game, "prod"), (&shop, "staging")];
        for (number, (app, place)) in (0..).zip(places) {
            for _ in 0..2 {
                assert_eq!(
                    give(&*catalog, app, place, 4, None).await.unwrap(),
                    UidAssignment::Number(number),
                    "{app} {place}"
                );
            }
        }
        assert_eq!(give(&*catalog, &game, PREVIEW, 4, None).await.unwrap(), UidAssignment::None);
        // A released number is assigned again, unless the range has shrunk.
        put(&*catalog, &free_uid_key(9), serde_json::json!({ "at_ms": 1 })).await;
        assert_eq!(give(&*catalog, &game, PREVIEW, 4, None).await.unwrap(), UidAssignment::None);
        put(&*catalog, &free_uid_key(2), serde_json::json!({ "at_ms": 1 })).await;
        assert_eq!(give(&*catalog, &game, PREVIEW, 4, None).await.unwrap(), UidAssignment::Number(2));
        assert_eq!(give(&*catalog, &game, "staging", 4, None).await.unwrap(), UidAssignment::None);
    }

    #[tokio::test]
    async fn pairs_of_an_earlier_version_become_numbers_of_environments() {
        let (_folder, catalog) = catalog();
        let pairs: [(&str, u32, &[&str], &[&str]); 3] =
            [("shop", 3, &["prod", "staging"], &["old"]), ("game", 4, &["beta", "alpha"], &[]), ("none", 5, &[], &[])];
        for (app, number, live, deleted) in pairs {
            put(&*catalog, &format!("uids/{app}"), serde_json::json!({ "number": number })).await;
            for name in live {
                put(&*catalog, &format!("live/{app}/{name}"), serde_json::json!({})).await;
            }
            for name in deleted {
                put(&*catalog, &format!("deleted-environments/{app}/{name}"), serde_json::json!({})).await;
            }
        }
        put(&*catalog, UID_NEXT_KEY, serde_json::json!({ "number": 6 })).await;
        // An interrupted migration is resumed.
        for _ in 0..2 {
            give_user_ids_apart(&*catalog).await.unwrap();
        }
        let found = catalog.list(UIDS_PREFIX, None, false, usize::MAX).await.unwrap();
        let read = |(key, record): &(String, catalog::Record)| {
            let UidRecord { number, pair } = records::read(key, record).unwrap();
            (key.clone(), number, pair.unwrap())
        };
        let found: Vec<(String, u32, u32)> = found.iter().map(read).collect();
        let expected = [
            ("uids/game/alpha", 8, 4),
            ("uids/game/beta", 12, 4),
            ("uids/game/preview", 9, 4),
            ("uids/none/preview", 11, 5),
            ("uids/shop/old", 13, 3),
            ("uids/shop/preview", 7, 3),
            ("uids/shop/prod", 6, 3),
            ("uids/shop/staging", 14, 3),
        ];
        assert_eq!(found, expected.map(|(key, number, pair)| (key.to_owned(), number, pair)));
    }
}
