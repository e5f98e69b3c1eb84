//! Tests of the reports of a push: step details, log lines, report, refusals.

use devanture_config::api::{BeginDeploy, DeployBegun, DeployReport, Source};
use devanture_config::manifest::FileEntry;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::Rules;
use devanture_config::{Digest, Manifest, PlaceName};
use serde_json::{Value, json};

use super::collections::world::{World, content, digest, manifest, name, world};
use crate::encode;
use crate::ledger::{Actor, Error};
use crate::publish::finish::outcome_of;
use devanture_store::blobs::Form;
use devanture_store::records::{self, HistoryEntry, StoredDeploy};

/// Files of a bundle.
pub(super) type Files<'f> = &'f [(&'f str, &'f [u8])];

pub(super) fn of_files(files: Files<'_>) -> Manifest {
    let entry = |bytes: &[u8]| FileEntry { hash: Digest::of(bytes), size: bytes.len() as u64, media_type: None };
    Manifest::of_files(files.iter().map(|(path, bytes)| (path.parse().unwrap(), entry(bytes))).collect())
}

async fn begin(world: &World, environment: &str, manifest: Manifest, options: Value) -> DeployBegun {
    let options = serde_json::from_value(options).unwrap();
    let push = world.publisher.checked_whole(&name(0), BeginDeploy { manifest, source: Source::default(), options });
    world.publisher.begin(&Actor::local(), &name(0), &environment.parse().unwrap(), push).await.unwrap()
}

async fn send(world: &World, deploy: &str, bytes: &[u8]) -> Result<(), Problem> {
    let sent = async {
        let digest = Digest::of(bytes);
        let mut receiving = world.publisher.receive(&Actor::local(), &name(0), deploy, digest).await?;
        receiving.write(bytes.to_vec().into()).await?;
        world.publisher.received(receiving).await
    };
    sent.await.map_err(|Error(problem)| *problem)
}

pub(super) async fn push_files(world: &World, manifest: Manifest, files: Files<'_>, options: Value) -> DeployReport {
    let begun = begin(world, "prod", manifest, options).await;
    for (_, bytes) in files.iter().filter(|(_, bytes)| begun.missing.contains(&Digest::of(bytes))) {
        send(world, &begun.deploy, bytes).await.unwrap();
    }
    world.finish(&name(0), &begun.deploy).await.unwrap()
}

/// Pushes files with the contents.
async fn push(world: &World, environment: &str, contents: &[u8], options: Value) -> DeployReport {
    let begun = begin(world, environment, manifest(&contents.iter().copied().collect()), options).await;
    for number in contents.iter().filter(|number| begun.missing.contains(&digest(**number))) {
        send(world, &begun.deploy, &content(*number)).await.unwrap();
    }
    world.finish(&name(0), &begun.deploy).await.unwrap()
}

/// Returns the newest history entry of `prod`.
async fn newest(world: &World) -> StoredDeploy {
    let prefix = records::history_prefix(&name(0), &PlaceName::prod());
    let (key, record) = world.catalog.list(&prefix, None, true, 1).await.unwrap().remove(0);
    records::read::<HistoryEntry>(&key, &record).unwrap().deploy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_an_alias_says_where_the_alias_was_and_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    push(&world, "prod", &[9], json!({})).await;
    let [one, two] = [1, 2].map(|number| manifest(&[number].into()).id().short());
    for (number, expected) in [
        (1, format!("feature: nothing → {one}")),
        (2, format!("feature: {one} → {two}")),
        (2, format!("feature is {two} already")),
    ] {
        let report = push(&world, "preview", &[number], json!({ "alias": "feature" })).await;
        let step = report.steps.iter().find(|step| step.name == "alias").unwrap();
        assert_eq!(step.detail, expected);
        let alias = report.alias.unwrap();
        assert_eq!((&report.urls.live, report.urls.alias.as_ref()), (&alias.url, Some(&alias.url)), "all there is");
    }
    let report = push(&world, "prod", &[2], json!({ "alias": "other" })).await;
    assert_ne!(Some(&report.urls.live), report.urls.alias.as_ref());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_counts_the_files_of_the_version_and_those_that_were_new() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    push(&world, "prod", &[1], json!({})).await;
    let report = push(&world, "prod", &[1, 2, 3, 4], json!({})).await;
    assert_eq!((report.files.total, report.files.new), (4, 3));
    let sent: usize = [2, 3, 4].map(|number| content(number).len()).iter().sum();
    assert_eq!(report.bytes.sent, sent as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let begun = begin(&world, "prod", manifest(&(1..=9).collect()), json!({})).await;
    let mut all: Vec<Digest> = (1..=9).map(digest).collect();
    all.sort_unstable();
    assert_eq!(begun.missing, all, "in one order");
    let refused = async || {
        let Err(Error(problem)) = world.finish(&name(0), &begun.deploy).await else { panic!("it was finished") };
        assert_eq!(problem.code, Code::BlobMissing);
        problem.detail
    };
    for number in 1..=7 {
        send(&world, &begun.deploy, &content(number)).await.unwrap();
    }
    let detail = refused().await;
    assert!(detail.starts_with("2 blobs of the manifest were not sent, such as "), "{detail}");
    assert!([8, 9].iter().any(|number| detail.contains(&digest(*number).to_string())), "{detail}");
    send(&world, &begun.deploy, &content(8)).await.unwrap();
    assert_eq!(refused().await, format!("1 blob of the manifest was not sent, such as {}.", digest(9)));
    send(&world, &begun.deploy, &content(9)).await.unwrap();
    world.finish(&name(0), &begun.deploy).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_cut_short_is_refused_with_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let begun = begin(&world, "prod", manifest(&[1].into()), json!({})).await;
    let (bytes, digest) = (content(1), digest(1));
    let mut receiving = world.publisher.receive(&Actor::local(), &name(0), &begun.deploy, digest).await.unwrap();
    receiving.write(bytes[..100].to_vec().into()).await.unwrap();
    let Err(Error(problem)) = world.publisher.received(receiving).await else { panic!("it was taken") };
    let expected = format!("The blob {digest} was promised with {} bytes, but 100 came.", bytes.len());
    assert_eq!((problem.code, problem.detail), (Code::BlobMismatch, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_deploy_says_what_was_guessed_and_which_doubts_were_let_pass() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    // The first rule shadows the second.
    let files: Files<'_> = &[("index.html", b"x"), ("_redirects", b"/a /b 200!\n/a /c\n")];
    let guessed = Manifest { guessed_rules: Some(Rules::Netlify), ..of_files(files) };
    push_files(&world, guessed, files, json!({ "allow_warnings": true })).await;
    let log = newest(&world).await.log;
    assert!(log.iter().any(|line| line.starts_with("let pass: ") && line.contains("_redirects")), "{log:?}");
    assert!(log.iter().any(|line| line.contains("Netlify's, which was guessed")), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_stays_withdrawn_is_in_the_report_and_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    push(&world, "prod", &[1, 2], json!({})).await;
    push(&world, "prod", &[3], json!({})).await;
    let request = serde_json::from_value(json!({ "path": "/f1.txt" })).unwrap();
    world.publisher.retention().withdraw(&Actor::local(), &name(0), &request, false).await.unwrap();
    let report = push(&world, "prod", &[1, 2], json!({})).await;
    assert_eq!(report.withdrawn, ["/f1.txt"]);
    let log = newest(&world).await.log;
    assert_eq!(log, ["/f1.txt stays withdrawn: this version was stored before"]);
}

/// Alerts use the outcome of the undone push.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_distinguish_pushes_that_are_live_stored_undone_or_failed() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let live = push(&world, "prod", &[1], json!({})).await;
    let stored = push(&world, "prod", &[2], json!({ "no_switch": true })).await;
    let failed = |code| Err(Problem::new(code, "why").into());
    let outcomes = [Ok(live), Ok(stored), failed(Code::WatchFailed), failed(Code::SmokeFailed)];
    assert_eq!(outcomes.map(|result| outcome_of(&result)), ["live", "stored", "undone", "failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_step_that_compresses_says_how_many_files_were_and_how_many_came_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (page, script) = (content(1), content(2));
    let variants = encode::best(&script.clone().into());
    let (_, _, brotli) = variants.into_iter().find(|(form, ..)| *form == Form::Br).unwrap();
    let plain: Files<'_> = &[("a.html", &page), ("b.js", &script)];
    let given: Files<'_> = &[("a.html", &page), ("b.js", &script), ("b.js.br", &brotli)];
    let detail = async |files: Files<'_>| {
        let report = push_files(&world, of_files(files), files, json!({})).await;
        report.steps.into_iter().find(|step| step.name == "compress").unwrap().detail
    };
    let first = detail(plain).await;
    assert!(first.starts_with("2 files, ") && !first.contains("came compressed"), "{first}");
    assert_eq!(detail(plain).await, "nothing to do");
    let came = detail(given).await;
    assert!(came.ends_with("; 1 came compressed"), "{came}");
    // Zeros, which decode to more times their bytes than allowed.
    let zeros = encode::best(&vec![0_u8; 100_000].into());
    for (name, wanted) in [("game.data.br", Form::Br), ("icons/zeros.svgz", Form::Gz), ("logo.svg.gz", Form::Gz)] {
        let (_, _, bytes) = zeros.iter().find(|(form, ..)| *form == wanted).unwrap();
        let alone: Files<'_> = &[("a.html", &page), (name, bytes)];
        let beyond = detail(alone).await;
        let expected = format!("; {name} has its own name alone, as it decodes to more than archive_ratio_max allows");
        assert!(beyond.ends_with(&expected), "{beyond}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_push_whose_rules_are_wrong_lists_every_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    push(&world, "prod", &[9], json!({})).await;
    // The first rule shadows the second.
    let files: Files<'_> = &[("index.html", b"x"), ("_redirects", b"/a /b 200!\n/a /c\n")];
    let guessed = Manifest { guessed_rules: Some(Rules::Netlify), ..of_files(files) };
    let begun = begin(&world, "prod", guessed, json!({})).await;
    for (_, bytes) in files {
        send(&world, &begun.deploy, bytes).await.unwrap();
    }
    let Err(Error(problem)) = world.finish(&name(0), &begun.deploy).await else { panic!("it was finished") };
    assert!(problem.code == Code::Warnings && !problem.mistakes.is_empty(), "{problem:?}");
    let mut expected = vec![format!("error: {}  [{}]", problem.detail, problem.code.as_str())];
    expected.extend(problem.mistakes.iter().map(ToString::to_string));
    expected.extend(problem.hint.iter().map(|hint| format!("hint: {hint}")));
    let log = newest(&world).await.log;
    assert!(log.ends_with(&expected), "{log:?} {expected:?}");
}
