//! Tests of console packages: validity, served files, and preservation of the installed console.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::api::ConsoleStatus;
use devanture_config::limits::Limits;
use devanture_config::path::BundlePath;
use devanture_config::problem::Code;
use devanture_config::site_toml::{HtmlHandling, NotFound};
use devanture_config::{Digest, Manifest, VersionId};
use futures_util::poll;

use super::archives::tar;
use super::collections::world::{World, world};
use crate::ledger::{Actor, Error};
use crate::publish::check_console_package;
use crate::publish::console::FILES_BYTES_MAX;
use devanture_base::clock::now_ms;
use devanture_serve::live::Loader;
use devanture_store::blobs::{self, Key};

const PAGE: (&str, &[u8]) = ("index.html", b"<!doctype html><title>Console</title>");
const IMAGE: (&str, &[u8]) = ("logo.png", b"not compressed and damaged below");

/// Files of a package with their contents.
type Files<'f> = &'f [(&'f str, &'f [u8])];

fn package(files: Files<'_>) -> Bytes {
    tar(files).into()
}

async fn install(world: &World, files: Files<'_>) -> Result<ConsoleStatus, Code> {
    let installed = world.publisher.install_console(&Actor::local(), package(files)).await;
    installed.map_err(|Error(problem)| problem.code)
}

/// Returns the installed version.
async fn installed(world: &World) -> Option<VersionId> {
    world.publisher.console_status().await.unwrap().installed.map(|installed| installed.version)
}

/// Serves the installed console, as a node with the console enabled.
async fn serve(world: &World) {
    let following = Box::pin(Arc::clone(world.publisher.console()).follow());
    assert!(poll!(following).is_pending());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_a_tar_with_a_page_and_has_a_bound() {
    let script = vec![b'x'; usize::try_from(FILES_BYTES_MAX).unwrap() - PAGE.1.len() + 1];
    let cases: [(&str, Files<'_>, bool); 5] = [
        ("as large as may be", &[PAGE, ("app.js", &script[1..])], true),
        ("larger", &[PAGE, ("app.js", &script)], false),
        ("in one folder", &[("console/index.html", PAGE.1), ("console/app.js", b"x")], true),
        ("without a page", &[("app.js", b"x")], false),
        ("with a page deeper alone", &[("console/pages/index.html", PAGE.1)], false),
    ];
    for (what, files, expected) in cases {
        let checked = check_console_package(package(files)).await.map_err(|Error(problem)| problem.code);
        assert_eq!(checked.is_ok(), expected, "{what}: {checked:?}");
    }
    let other = check_console_package(Bytes::from_static(PAGE.1)).await;
    assert_eq!(other.map_err(|Error(problem)| problem.code), Err(Code::BadArchive), "no tar");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_package_are_served_and_not_its_rules() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let rules: [(&str, &[u8]); 2] = [("_headers", b"/*\n  x: y\n"), ("_redirects", b"/* https://a.example\n")];
    let status = install(&world, &[PAGE, IMAGE, rules[0], rules[1]]).await.unwrap().installed.unwrap();
    assert_eq!((status.files, status.bytes), (2, (PAGE.1.len() + IMAGE.1.len()) as u64));
    let stored = world.blobs.get(Key::Manifest(status.version)).await.unwrap();
    let manifest = Manifest::parse(&stored).unwrap();
    assert_eq!(manifest.files.keys().map(BundlePath::as_str).collect::<Vec<_>>(), [PAGE.0, IMAGE.0]);
    let settings = (manifest.base.html_handling, manifest.base.not_found, manifest.guessed_rules);
    assert_eq!(settings, (Some(HtmlHandling::AsIs), Some(NotFound::SinglePageApplication), None));
    // A package of other files besides rules is refused as well.
    let refused = install(&world, &[("app.js", b"x"), rules[0]]).await;
    assert_eq!(refused.map(drop), Err(Code::BadArchive));
    assert_eq!(installed(&world).await, Some(status.version));
    // A page alone is a complete package.
    install(&world, &[PAGE]).await.unwrap();
    assert_ne!(installed(&world).await, Some(status.version));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_is_served_until_it_is_removed_and_a_start_installs_only_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (publisher, actor) = (&world.publisher, Actor::local());
    assert!(!install(&world, &[PAGE]).await.unwrap().served, "the configuration says off");
    serve(&world).await;
    assert!(install(&world, &[PAGE]).await.unwrap().served);
    let removed = publisher.remove_console(&actor).await.unwrap();
    assert_eq!((removed.installed, removed.served), (None, false));
    let again = publisher.remove_console(&actor).await.map_err(|Error(problem)| problem.code);
    assert_eq!(again.map(drop), Err(Code::NotFound));
    publisher.install_console_once(&actor, package(&[PAGE])).await.unwrap();
    assert_eq!(installed(&world).await, None, "somebody removed that one");
    publisher.install_console_once(&actor, package(&[PAGE, IMAGE])).await.unwrap();
    let status = publisher.console_status().await.unwrap();
    assert_eq!((status.installed.map(|installed| installed.files), status.served), (Some(2), true));
}

/// Polls a future until a file is stored.
async fn until_stored<T>(world: &World, mut under_way: Pin<&mut (dyn Future<Output = T> + Send)>, file: &[u8]) {
    while world.blobs.size(Key::Blob(Digest::of(file))).await.unwrap().is_none() {
        assert!(poll!(under_way.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
}

fn rot(folder: &Path, file: &[u8]) {
    let name = Digest::of(file).to_string();
    let file = std::fs::OpenOptions::new().write(true).open(folder.join("blobs").join(&name[..2]).join(&name));
    std::os::unix::fs::FileExt::write_all_at(&file.unwrap(), b"rot", 0).unwrap();
}

/// Law 2: no record names the files until all were read back.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_package_are_held_while_they_come_and_read_back_before_it_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    // Occasionally the installation completes at its first poll, before the gate can be closed.
    for attempt in 0.. {
        let folder = folder.path().join(attempt.to_string());
        std::fs::create_dir(&folder).unwrap();
        if is_held_and_read_back(&folder).await {
            return;
        }
    }
}

/// Returns true if the gate was closed before the installation, and checks the guarantees in that case.
async fn is_held_and_read_back(folder: &Path) -> bool {
    let world = world(folder, 9).await;
    let before = install(&world, &[PAGE]).await.unwrap().installed.unwrap().version;
    let (actor, leases) = (Actor::local(), &world.publisher.ledger.leases);
    let mut installing = Box::pin(world.publisher.install_console(&actor, package(&[PAGE, IMAGE])));
    // The installation cannot lease its files by name before the gate opens.
    let gate = loop {
        if poll!(installing.as_mut()).is_ready() {
            return false;
        }
        let gate = leases.closed().await;
        if let Some(since_s) = gate.held_since_s() {
            assert!(since_s <= now_ms() / 1_000);
            break gate;
        }
        drop(gate);
        tokio::task::yield_now().await;
    };
    until_stored(&world, installing.as_mut(), IMAGE.1).await;
    rot(folder, IMAGE.1);
    drop(gate);
    let refused = installing.await.map_err(|Error(problem)| problem.code);
    assert_eq!(refused.map(drop), Err(Code::NotReady), "the package is well, and the disk is not");
    assert_eq!(installed(&world).await, Some(before));
    assert_eq!(leases.closed().await.held_since_s(), None);
    install(&world, &[PAGE, IMAGE]).await.unwrap();
    true
}

/// Makes the loader read from a store without the files.
fn load_from(world: &mut World, folder: &Path) {
    let blobs = blobs::open(folder.to_owned()).unwrap();
    let loader = Loader::new(blobs, Arc::clone(&world.catalog), &Limits::default());
    let publisher = Arc::get_mut(&mut world.publisher).unwrap();
    Arc::get_mut(&mut publisher.switcher).unwrap().loader = loader;
}

/// Otherwise the record would name a version that no node can serve.
#[tokio::test(flavor = "multi_thread")]
async fn a_console_that_cannot_be_loaded_is_not_installed() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut world = world(folder.path(), 9).await;
    let before = install(&world, &[PAGE]).await.unwrap().installed.unwrap().version;
    load_from(&mut world, elsewhere.path());
    let refused = world.publisher.install_console(&Actor::local(), package(&[PAGE, IMAGE])).await.map(drop);
    let Err(Error(problem)) = refused else { panic!("it was installed") };
    assert_eq!(problem.code, Code::BadArchive);
    assert!(problem.detail.starts_with("The console cannot be served: "), "{problem:?}");
    assert_eq!(installed(&world).await, Some(before));
}
