//! History entries: account, change, source address, and reason for a failure.

use std::collections::BTreeSet;

use devanture_config::api::{BeginDeploy, DeployKind, DeployOptions, History, Outcome, Source, SwitchReport};
use devanture_config::problem::Code;
use http::Method;
use serde_json::json;

use super::{call, history, push};
use crate::support::{edge, manifest};

/// Number of entries of the maximum size; together they exceed a page.
const LONG_ENTRIES: usize = 40;

#[tokio::test]
async fn a_deploy_is_kept_with_its_source_its_steps_and_its_log() {
    let edge = edge().start().await;
    let source = Source {
        commit: Some("4f2a91".to_owned()),
        branch: Some("main".to_owned()),
        message: Some("Prices".to_owned()),
        dirty: true,
        ci: Some("gitlab".to_owned()),
        url: Some("https://gitlab.example/j/1".to_owned()),
    };
    // A rule that another provider ignores: a warning.
    let files: crate::support::Files<'_> = &[("index.html", b"x"), ("_redirects", b"/a /b 200!\n/a /c\n")];
    let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: manifest(files), source: source.clone(), options };
    edge.try_push("shop", "prod", begin, files).await.unwrap();
    let entry = history(&edge, "prod").await.deploys.remove(0);
    assert_eq!((entry.who.as_str(), entry.kind, entry.outcome), ("test", DeployKind::Push, Outcome::Live));
    assert_eq!(entry.source, source);
    let names: Vec<&str> = entry.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["verify", "compress", "prepare", "switch"]);
    assert!(entry.log.iter().any(|line| line.starts_with("let pass: ")), "{:?}", entry.log);
    // A promotion also records the source environment.
    let promoted = call(&edge, Method::POST, "environments/staging/promote", Some(json!({ "from": "prod" }))).await;
    assert!(promoted.json::<SwitchReport>().switched);
    assert_eq!(history(&edge, "staging").await.deploys[0].source.commit.as_deref(), Some("4f2a91"));
    edge.stop().await;
}

#[tokio::test]
async fn a_push_that_failed_is_kept_with_its_reason() {
    let edge = edge().with_app("shop", &[("app-4f2a91bc.js", b"one")]).start().await;
    let failed = push(&edge, "prod", DeployOptions::default(), &[("app-4f2a91bc.js", b"two")]).await.unwrap_err();
    assert_eq!(failed.code, Code::FingerprintReused);
    let bad = push(&edge, "prod", DeployOptions::default(), &[("_redirects", b"/a b c d e f\n"), ("x", b"x")]).await;
    assert!(bad.is_err());
    let entries = history(&edge, "prod").await.deploys;
    let problem = entries[1].problem.as_ref().unwrap();
    assert_eq!((entries[1].outcome, problem.code), (Outcome::Failed, Code::FingerprintReused));
    assert_eq!(problem.detail, failed.detail);
    assert!(entries[1].log.iter().any(|line| line.contains("[fingerprint_reused]")), "{:?}", entries[1].log);
    assert!(entries[1].log.iter().any(|line| line.starts_with("hint: ")), "{:?}", entries[1].log);
    assert!(entries[0].log.iter().any(|line| line.contains("_redirects:1")), "{:?}", entries[0].log);
    edge.stop().await;
}

/// Entries may be long: a page is bounded in bytes, too.
#[tokio::test]
async fn a_page_of_entries_that_say_much_ends_early_and_the_next_one_goes_on() {
    let files: crate::support::Files<'_> = &[("index.html", b"x")];
    let edge = edge().with_app("shop", files).start().await;
    let long = Some("\u{1f600}".repeat(1_600));
    let source = Source {
        commit: long.clone(),
        branch: long.clone(),
        message: long.clone(),
        ci: long.clone(),
        url: long,
        ..Source::default()
    };
    for _ in 0..LONG_ENTRIES {
        let options = DeployOptions { if_live: Some("000000".to_owned()), ..DeployOptions::default() };
        let begin = BeginDeploy { manifest: manifest(files), source: source.clone(), options };
        assert_eq!(edge.try_push("shop", "prod", begin, files).await.unwrap_err().code, Code::LiveMoved);
    }
    let (mut ids, mut before) = (BTreeSet::new(), String::new());
    loop {
        let path = format!("environments/prod/history?limit=1000{before}");
        let page: History = call(&edge, Method::GET, &path, None).await.json();
        assert!((1..LONG_ENTRIES).contains(&page.deploys.len()), "{}", page.deploys.len());
        ids.extend(page.deploys.into_iter().map(|deploy| deploy.id));
        let Some(next) = page.next else { break };
        before = format!("&before={next}");
    }
    assert_eq!(ids.len(), LONG_ENTRIES + 1);
    edge.stop().await;
}

#[tokio::test]
async fn a_source_that_is_too_long_is_refused() {
    let edge = edge().start().await;
    let long = Some("x".repeat(5_000));
    for source in [
        Source { url: long.clone(), ..Source::default() },
        Source { ci: long.clone(), ..Source::default() },
        Source { branch: long.clone(), ..Source::default() },
    ] {
        let files: crate::support::Files<'_> = &[("index.html", b"x")];
        let begin = BeginDeploy { manifest: manifest(files), source, options: DeployOptions::default() };
        assert_eq!(edge.try_push("shop", "prod", begin, files).await.unwrap_err().code, Code::BadRequest);
    }
    edge.stop().await;
}
