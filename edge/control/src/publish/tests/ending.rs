//! Tests of the history after the end of a push: each change once, each failure with its reason.

use std::collections::BTreeSet;
use std::path::Path;

use devanture_config::PlaceName;
use devanture_config::api::{BeginDeploy, DeployReport, Outcome, Source, StepState};
use devanture_config::problem::Code;
use serde_json::{Value, json};

use super::collections::world::{World, content, digest, manifest, name, world};
use crate::ledger::{Actor, Error};
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::{self, AppRecord, HistoryEntry, VersionRecord};

/// An app and an environment.
struct Place {
    world: World,
    environment: PlaceName,
}

async fn place(folder: &Path, environment: &str) -> Place {
    let world = world(folder, 9).await;
    world.push(&name(0), &[9].into()).await.unwrap();
    Place { world, environment: environment.parse().unwrap() }
}

impl Place {
    async fn push(&self, number: u8, options: Value) -> Result<DeployReport, Code> {
        let (publisher, app, actor) = (&self.world.publisher, name(0), Actor::local());
        let options = serde_json::from_value(options).unwrap();
        let begin = BeginDeploy { manifest: manifest(&[number].into()), source: Source::default(), options };
        let pushed = async {
            let begun = publisher.begin(&actor, &app, &self.environment, publisher.checked_whole(&app, begin)).await?;
            if begun.missing.contains(&digest(number)) {
                let mut receiving = publisher.receive(&actor, &app, &begun.deploy, digest(number)).await?;
                receiving.write(content(number).into()).await?;
                publisher.received(receiving).await?;
            }
            publisher.finish(publisher.take(&actor, &app, &begun.deploy)?, None).await
        };
        pushed.await.map_err(|Error(problem)| problem.code)
    }

    /// Returns the outcomes in the history, oldest first, with the codes of failures.
    async fn history(&self) -> Vec<(Outcome, Option<Code>)> {
        let prefix = records::history_prefix(&name(0), &self.environment);
        let entries = self.world.catalog.list(&prefix, None, false, 99).await.unwrap();
        let entries = entries.iter().map(|(key, record)| records::read::<HistoryEntry>(key, record).unwrap().deploy);
        entries.map(|deploy| (deploy.outcome.into(), deploy.problem.map(|problem| problem.code))).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_an_alias_is_in_the_history_whenever_the_alias_changes() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path(), "preview").await;
    for (number, count) in [(1, 1), (2, 2), (1, 3), (1, 3)] {
        let report = place.push(number, json!({ "alias": "feature" })).await.unwrap();
        assert!(!report.switched && report.alias.is_some());
        assert_eq!(place.history().await, vec![(Outcome::Stored, None); count], "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_does_not_switch_is_in_the_history_if_its_version_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path(), "prod").await;
    for _ in 0..2 {
        let report = place.push(1, json!({ "no_switch": true })).await.unwrap();
        let states =
            ["prepare", "switch"].map(|name| report.steps.iter().find(|step| step.name == name).unwrap().state);
        assert_eq!((report.switched, states), (false, [StepState::Skipped; 2]));
        assert_eq!(place.history().await, [(Outcome::Live, None), (Outcome::Stored, None)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_fails_is_in_the_history_with_its_reason_and_leaves_what_was_live() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path(), "prod").await;
    let other = manifest(&[8].into()).id();
    assert_eq!(place.push(1, json!({ "if_live": other })).await.err(), Some(Code::LiveMoved));
    assert_eq!(place.history().await, [(Outcome::Live, None), (Outcome::Failed, Some(Code::LiveMoved))]);
    let report = place.push(1, json!({})).await.unwrap();
    assert_eq!((report.switched, report.previous), (true, Some(manifest(&[9].into()).id())));
    assert_eq!(place.history().await.last(), Some(&(Outcome::Live, None)));
    // A push waiting for a file has not ended.
    let begun = place.world.begin(&name(0), &[2].into()).await.unwrap();
    place.world.blobs.delete(devanture_store::blobs::Key::Blob(digest(2))).await.unwrap();
    let waits = place.world.finish(&name(0), &begun).await.map(|_| ()).map_err(|Error(problem)| problem.code);
    assert_eq!((waits, place.history().await.len()), (Err(Code::BlobMissing), 3));
}

/// Law 11: by then the name may have a new owner.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_a_push_that_ends_after_its_app_was_purged_makes_nothing_live_in_the_next_app_of_its_name() {
    for is_made_again in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let Place { world, environment } = place(folder.path(), "prod").await;
        let (publisher, app, actor) = (&world.publisher, name(0), Actor::local());
        let deploy = world.begin(&app, &[1].into()).await.unwrap();
        let taken = publisher.take(&actor, &app, &deploy).unwrap();
        publisher.retention().purge_place(&actor, &app, None, false).await.unwrap();
        if is_made_again {
            world.push(&app, &[2].into()).await.unwrap();
        }
        let before = world.catalog.list("", None, false, usize::MAX).await.unwrap();
        let Err(Error(problem)) = publisher.finish(taken, None).await else { panic!("it was finished") };
        assert_eq!(problem.code, Code::Deleted, "{problem:?}");
        let of_app = |records: Vec<(String, _)>| -> Vec<String> {
            records.into_iter().map(|(key, _)| key).filter(|key| key.contains(app.as_str())).collect()
        };
        let after = world.catalog.list("", None, false, usize::MAX).await.unwrap();
        assert_eq!(of_app(after), of_app(before), "{is_made_again}");
        let live = publisher.ledger.live_version_id(&app, &environment).await.unwrap();
        assert_eq!(live, is_made_again.then(|| manifest(&[2].into()).id()));
    }
}

/// Law 11: the name may get a new owner after the last check.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_a_push_writes_no_version_of_an_app_that_was_made_again_just_before_its_commit() {
    let contents = BTreeSet::from([1]);
    for is_stored in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path(), "prod").await;
        let (app, catalog) = (name(0), &place.world.catalog);
        let key = records::version_key(&app, &manifest(&contents).id());
        if is_stored {
            place.world.push(&app, &contents).await.unwrap();
            let record: VersionRecord = records::read(&key, &catalog.get(&key).await.unwrap().unwrap()).unwrap();
            // Stored by an actor with other rights, so its record is written again.
            let record = VersionRecord { edge_admin: Some(false), ..record };
            let changes = vec![Change::Put(key.clone(), records::write(&record).unwrap())];
            catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        }
        let before = (catalog.get(&key).await.unwrap(), place.history().await);
        let made = records::write(&AppRecord { created_ms: 1, who: "ben".to_owned() }).unwrap();
        place.world.overtaken.before_commit_of(&key, vec![Change::Put(records::app_key(&app), made)]);
        let pushed = place.world.push(&app, &contents).await.map(drop).map_err(|Error(problem)| problem.code);
        place.world.overtaken.assert_overtaken();
        assert_eq!(pushed, Err(Code::Deleted), "{is_stored}");
        assert_eq!((catalog.get(&key).await.unwrap(), place.history().await), before, "{is_stored}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_push_that_failed_ends_with_the_error_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path(), "prod").await;
    let other = manifest(&[8].into()).id();
    assert_eq!(place.push(1, json!({ "if_live": other })).await.err(), Some(Code::LiveMoved));
    let prefix = records::history_prefix(&name(0), &place.environment);
    let entries = place.world.catalog.list(&prefix, None, true, 1).await.unwrap();
    let deploy = records::read::<HistoryEntry>(&entries[0].0, &entries[0].1).unwrap().deploy;
    let [.., error, hint] = deploy.log.as_slice() else { panic!("{deploy:?}") };
    let detail = deploy.problem.unwrap().detail;
    assert_eq!(*error, format!("error: {detail}  [{}]", Code::LiveMoved.as_str()));
    assert!(hint.starts_with("hint: "), "{hint}");
}
