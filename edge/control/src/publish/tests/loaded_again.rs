//! Tests of returning visitors with hashed pages: a page with a changed script is a changed page.

use devanture_config::api::{Amount, VisitorLoad};
use devanture_config::site_toml::SiteFile;
use devanture_config::{Manifest, PlaceName, VersionId};
use serde_json::json;

use super::collections::world::{World, name, world};
use super::reported::{Files, of_files, push_files};
use crate::ledger::{Actor, Page};
use crate::publish::DiffRequest;

const ONE: Files<'static> =
    &[("index.html", b"<!doctype html><script src=/a.js></script>"), ("a.js", b"alert(1)"), ("b.css", b"p {}")];
/// The same page with another script.
const TWO: Files<'static> =
    &[("index.html", b"<!doctype html><script src=/a.js></script>"), ("a.js", b"alert(2)"), ("b.css", b"p {}")];

/// Manifest of the files, with hashed pages in all environments but one.
fn with_hashes(files: Files<'_>) -> Manifest {
    let site = "integrity = \"enforce\"\n[env.plain]\nintegrity = \"off\"\n";
    let site = SiteFile::parse("devanture.toml", site).unwrap();
    Manifest { base: site.base, env: site.env, ..of_files(files) }
}

async fn push(world: &World, files: Files<'_>) -> VersionId {
    push_files(world, with_hashes(files), files, json!({ "allow_warnings": true })).await.version
}

async fn visitors(world: &World, from: &str, to: VersionId, environment: &str) -> VisitorLoad {
    let wanted = DiffRequest {
        from: from.to_owned(),
        to: to.to_string(),
        environment: environment.parse().unwrap(),
        page: Page { limit: 9, after: None, cursor: "after" },
    };
    world.publisher.diff(&Actor::local(), &name(0), &wanted).await.unwrap().visitors
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_loaded_again_where_it_has_the_hash_of_another_script() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (one, two) = (push(&world, ONE).await, push(&world, TWO).await);
    // Page and script, and the unchanged style.
    for (environment, loaded, same) in [("prod", 2, 1), ("plain", 1, 2)] {
        let counted = visitors(&world, &one.to_string(), two, environment).await;
        assert_eq!((counted.load.files, counted.revalidate.files), (loaded, same), "{environment}");
        assert_eq!((counted.first_visit.files, counted.keep.files), (3, 0), "{environment}");
        let back = visitors(&world, &two.to_string(), one, environment).await;
        assert_eq!((back.load.files, back.revalidate.files), (loaded, same), "{environment}");
    }
    // Compared with an environment without a live version, all files are new.
    let first = visitors(&world, "next", two, "next").await;
    assert_eq!((first.load, first.revalidate), (first.first_visit, Amount::default()));
    assert_eq!(first.load.files, 3);
}

/// The hashed page is unknown before the push.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_counts_as_the_same_while_one_of_two_versions_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, prod) = (name(0), PlaceName::prod());
    push(&world, ONE).await;
    let version = push(&world, TWO).await;
    let (one, two) = (with_hashes(ONE), with_hashes(TWO));
    let publisher = &world.publisher;
    let stored = publisher.sent(&app, &prod, Some(&version), &two).await.unwrap();
    let coming = publisher.sent(&app, &prod, None, &one).await.unwrap();
    for (path, is_same) in [("index.html", true), ("a.js", false), ("b.css", true)] {
        let path = path.parse().unwrap();
        assert_eq!((coming.is_same(&stored, &path), stored.is_same(&coming, &path)), (is_same, is_same), "{path}");
    }
    let again = publisher.loaded_again(&stored, &coming, None).await.unwrap();
    assert_eq!(again.plain, Amount { files: 1, bytes: ONE[1].1.len() as u64 });
    // Without a dictionary, no delta applies.
    assert_eq!(again.with_dictionaries, None);
}
