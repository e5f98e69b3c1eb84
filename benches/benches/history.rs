//! Cost of a page of a long history: 10,000 deploys, queried as by the API.

#![allow(clippy::unwrap_used, reason = "a bench that cannot begin has nothing to say")]
#![allow(missing_docs, reason = "criterion's macro makes a function without")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use devanture_config::limits::Limits;
use devanture_config::{AppName, PlaceName, VersionId};
use devanture_control::ledger::{Ledger, Page};
use devanture_serve::live::{Domains, Grace, Live};
use devanture_store::catalog::{self, Catalog, Change, Commit};
use devanture_store::records::{
    self, AppRecord, HistoryEntry, StoredDeploy, StoredKind, StoredOutcome, StoredSource, StoredStep, StoredStepState,
};

const DEPLOYS: u64 = 10_000;

/// Deploy as recorded for a push from CI.
fn entry(app: &AppName, prod: &PlaceName, number: u64) -> (String, HistoryEntry) {
    let key = records::history_key(app, prod, 1_700_000_000_000_000 + number);
    let step = |name: &str| StoredStep {
        name: name.to_owned(),
        state: StoredStepState::Done,
        detail: "12 files".to_owned(),
        ms: 3,
    };
    let deploy = StoredDeploy {
        id: format!("{number:x}"),
        kind: StoredKind::Push,
        environment: prod.clone(),
        version: VersionId::of(&number.to_be_bytes()),
        previous: Some(VersionId::of(&(number - 1).to_be_bytes())),
        who: "ci".to_owned(),
        at_ms: 1_700_000_000_000 + number,
        source: StoredSource {
            commit: Some("4f2a91bc03de4f2a91bc03de4f2a91bc03de4f2a".to_owned()),
            branch: Some("main".to_owned()),
            message: Some("A change that somebody has described in a sentence".to_owned()),
            ..StoredSource::default()
        },
        steps: ["verify", "compress", "prepare", "switch"].map(step).to_vec(),
        outcome: StoredOutcome::Live,
        settings: 0,
        alias: None,
        log: Vec::new(),
        reason: None,
        problem: None,
        went_back: None,
        halves: None,
        with: None,
    };
    let position = key.clone();
    (key, HistoryEntry { deploy, position })
}

async fn filled(folder: &Path, app: &AppName, prod: &PlaceName) -> Ledger {
    let catalog: Arc<dyn Catalog> = catalog::open(&folder.join("catalog.redb")).unwrap();
    let record = records::write(&AppRecord { created_ms: 0, who: "ci".to_owned() }).unwrap();
    let mut changes = vec![Change::Put(records::app_key(app), record)];
    for number in 1..=DEPLOYS {
        let (key, entry) = entry(app, prod, number);
        changes.push(Change::Put(key, records::write(&entry).unwrap()));
    }
    catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    let domain = || "localhost".parse().unwrap();
    let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
    Ledger::new(catalog, live, &Limits::default())
}

fn history(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (app, prod): (AppName, PlaceName) = ("shop".parse().unwrap(), PlaceName::prod());
    let ledger = runtime.block_on(filled(folder.path(), &app, &prod));
    let middle = format!("{}", 1_700_000_000_000_000 + DEPLOYS / 2);
    for (name, limit, before) in [
        ("the newest 20 of 10,000", 20, None),
        ("20 in the middle", 20, Some(middle.as_str())),
        ("the newest 1,000", 1_000, None),
    ] {
        c.bench_function(&format!("history: {name}"), |b| {
            b.iter(|| {
                let page = Page { limit, after: before.map(str::to_owned), cursor: "before" };
                black_box(runtime.block_on(ledger.history(&app, &prod, &page)).unwrap().deploys.len())
            });
        });
    }
}

criterion_group!(benches, history);
criterion_main!(benches);
