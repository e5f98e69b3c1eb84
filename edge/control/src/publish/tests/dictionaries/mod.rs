//! Tests of dictionaries over real stores: choice of dictionaries, deltas, confidentiality.

mod applied;
mod bounds;
mod closed;
mod offered;
mod report;

use std::collections::BTreeSet;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use devanture_config::api::{BeginDeploy, DeployOptions, DeployReport, Source};
use devanture_config::edge_toml::{Compress, Retention, Watch};
use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::site_toml::SiteFile;
use devanture_config::{AppName, Digest, Manifest, PlaceName, Sha256, VersionId};
use tokio::sync::broadcast;

use super::Nobody;
use crate::encode::{Background, Dictionaries, Pair, Pool, Priority, delta};
use crate::environments::{self, Environments};
use crate::ledger::{Actor, Condition, Ledger};
use crate::publish::{Parts, Publisher};
use crate::retention::CollectOptions;
use devanture_base::telemetry::AccessLog;
use devanture_serve::live::{DictionaryMiss, Domains, Follower, Grace, Live, Loader};
use devanture_serve::proxy::address::Policy;
use devanture_store::blobs::{self, Blobs, DeltaForm, Key, Quality};
use devanture_store::catalog::{self, Catalog};
use devanture_store::records::{self, DictionariesRecord};

/// Publisher over a folder, with the followers of its catalog.
struct World {
    publisher: Arc<Publisher>,
    dictionaries: Arc<Dictionaries>,
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    pool: Pool,
    _follower: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self._follower.abort();
    }
}

async fn world(folder: &Path, settings: Compress, limits: Limits) -> World {
    world_with(folder, settings, limits, Grace { ms: 0, versions_max: 0 }).await
}

/// A world that keeps replaced versions for the grace period.
async fn world_with(folder: &Path, settings: Compress, limits: Limits, grace: Grace) -> World {
    let blobs = blobs::open(folder.to_owned()).unwrap();
    let catalog = catalog::open(&folder.join("catalog.redb")).unwrap();
    let domain = || "localhost".parse().unwrap();
    let live = Live::new(Domains::new(domain(), domain()), grace);
    let loader = Loader::new(Arc::clone(&blobs), Arc::clone(&catalog), &limits);
    let remade = broadcast::Sender::new(1);
    let follower = Follower::start(live.clone(), loader.clone(), remade.subscribe()).await.unwrap();
    let (of_blobs, of_catalog) = (Arc::clone(&blobs), Arc::clone(&catalog));
    let dictionaries = Dictionaries::new(of_blobs, of_catalog, &settings, &limits, loader.rule_memory()).unwrap();
    let ledger = Arc::new(Ledger::new(Arc::clone(&catalog), live, &limits));
    let plain = environments::Parts::plain(Arc::clone(&blobs), folder);
    let environments = Arc::new(Environments::new(Arc::clone(&ledger), plain));
    let publisher = Arc::new(Publisher::new(Parts {
        blobs: Arc::clone(&blobs),
        ledger: Arc::clone(&ledger),
        environments,
        loader,
        upstreams: Policy::default(),
        background: Background::off(),
        dictionaries: Some(Arc::clone(&dictionaries)),
        data_dir: folder.to_owned(),
        compress_threads: 1,
        retention: Retention::default(),
        smoke: Arc::new(Nobody),
        access_log: AccessLog::unread(),
        watch: Watch::default(),
        node: "node-1".to_owned(),
        nodes: None,
        cache: None,
    }));
    let pool = Pool::new("test", 1, Priority::Low);
    World { publisher, dictionaries, blobs, catalog, pool, _follower: tokio::spawn(follower.run()) }
}

/// Dictionaries that visitors of `prod` may have.
fn of_prod(record: &DictionariesRecord) -> BTreeSet<Digest> {
    record.from_in(Some(&PlaceName::prod()))
}

/// Dictionary miss of a visitor of `prod`.
fn miss_of(version: VersionId, blob: Digest, sha256: Sha256) -> DictionaryMiss {
    DictionaryMiss { app: shop(), environment: Some(PlaceName::prod()), version, blob, sha256 }
}

/// Limits without timeouts for slow machines.
fn patient() -> Limits {
    Limits { delta_ms_max: 600_000, ..Limits::default() }
}

fn shop() -> AppName {
    "shop".parse().unwrap()
}

/// A script that shares most content with all releases of its seed, and compresses badly alone.
fn script(seed: u64, release: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = format!("const release = {release};\n");
    for line in 0..600 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let changed = if line % 100 == release % 100 { release } else { 0 };
        text.push_str(&format!("export const f{line} = \"{state:x}\"; // {changed}\n"));
    }
    text.into_bytes()
}

impl World {
    async fn push(&self, app: &AppName, files: &[(&str, Vec<u8>)]) -> DeployReport {
        self.push_as(app, files, "").await
    }

    /// Pushes files, with `site` as `devanture.toml`.
    async fn push_as(&self, app: &AppName, files: &[(&str, Vec<u8>)], site: &str) -> DeployReport {
        let entry = |bytes: &[u8]| FileEntry { hash: Digest::of(bytes), size: bytes.len() as u64, media_type: None };
        let mut manifest =
            Manifest::of_files(files.iter().map(|(path, bytes)| (path.parse().unwrap(), entry(bytes))).collect());
        let site = SiteFile::parse("devanture.toml", site).unwrap();
        (manifest.base, manifest.env) = (site.base, site.env);
        let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
        let begin = BeginDeploy { manifest, source: Source::default(), options };
        let actor = Actor::local();
        let push = self.publisher.checked_whole(app, begin);
        let begun = self.publisher.begin(&actor, app, &PlaceName::prod(), push).await.unwrap();
        for (_, bytes) in files {
            let digest = Digest::of(bytes);
            if begun.missing.contains(&digest) {
                let mut receiving = self.publisher.receive(&actor, app, &begun.deploy, digest).await.unwrap();
                receiving.write(bytes.clone().into()).await.unwrap();
                self.publisher.received(receiving).await.unwrap();
            }
        }
        let taken = self.publisher.take(&actor, app, &begun.deploy).unwrap();
        self.publisher.finish(taken, None).await.unwrap()
    }

    /// Rolls back, and returns the live version.
    async fn rollback(&self) -> VersionId {
        let (actor, prod, condition) = (Actor::local(), PlaceName::prod(), Condition::default());
        let request = serde_json::from_str("{}").unwrap();
        let switching = self
            .publisher
            .switcher
            .rollback(&actor, (&shop(), &prod), &request, (&condition, false), None)
            .await
            .unwrap();
        switching.await.unwrap().unwrap().version
    }

    async fn record(&self, app: &AppName, version: &VersionId) -> Option<DictionariesRecord> {
        let key = records::dictionaries_key(app, version);
        let record = self.catalog.get(&key).await.unwrap()?;
        Some(records::read(&key, &record).unwrap())
    }

    /// Returns the stored delta forms from `dictionary` to `bytes`, after decoding each.
    async fn deltas(&self, bytes: &[u8], dictionary: &[u8]) -> Vec<(DeltaForm, Quality)> {
        let mut forms = Vec::new();
        for info in self.blobs.deltas(Digest::of(bytes)).await.unwrap() {
            if info.dictionary == Digest::of(dictionary) {
                let stored = self.blobs.get(Key::Delta(Digest::of(bytes), info.dictionary, info.form)).await.unwrap();
                let decoded = delta::decode(&stored, dictionary, info.sha256, info.form, bytes.len()).unwrap();
                assert!(decoded == bytes, "{info:?}");
                assert_eq!(info.sha256, delta::sha256(dictionary));
                forms.push((info.form, info.quality));
            }
        }
        forms.sort();
        forms
    }
}

const QUICK: [(DeltaForm, Quality); 2] = [(DeltaForm::Dcb, Quality::Quick), (DeltaForm::Dcz, Quality::Quick)];
const BEST: [(DeltaForm, Quality); 2] = [(DeltaForm::Dcb, Quality::Best), (DeltaForm::Dcz, Quality::Best)];
const PAGE: &[u8] = b"<!doctype html><title>shop</title>";

fn page() -> Vec<u8> {
    PAGE.to_vec()
}

#[tokio::test]
async fn a_push_makes_deltas_for_visitors_of_what_was_live() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let (one, two) = (script(1, 1), script(1, 2));
    let first = world.push(&shop(), &[("index.html", page()), ("a/app-3f2a91bc.js", one.clone())]).await;
    assert_eq!(first.returning, None);
    let record = world.record(&shop(), &first.version).await.unwrap();
    assert_eq!(record.files, [(Digest::of(&one), delta::sha256(&one))].into());
    assert!(record.deltas_from.is_empty());

    let second = world.push(&shop(), &[("index.html", page()), ("a/app-77c01d2e.js", two.clone())]).await;
    assert_eq!(world.deltas(&two, &one).await, QUICK);
    let record = world.record(&shop(), &second.version).await.unwrap();
    assert_eq!(of_prod(&record), [Digest::of(&one)].into());
    let compress = second.steps.iter().find(|step| step.name == "compress").unwrap();
    assert!(compress.detail.ends_with(", 2 deltas"), "{}", compress.detail);
    let returning = second.returning.unwrap();
    assert!(returning.bytes * 10 < returning.plain_bytes, "{returning:?}");

    // Unchanged files keep their deltas, for visitors who skip a version.
    let files = [("index.html", b"<!doctype html><title>new</title>".to_vec()), ("a/app-77c01d2e.js", two.clone())];
    let third = world.push(&shop(), &files).await;
    assert!(of_prod(&world.record(&shop(), &third.version).await.unwrap()).contains(&Digest::of(&one)));
}

#[tokio::test]
async fn what_has_little_in_common_has_no_delta_and_is_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let (one, two) = (script(1, 1), script(2, 1));
    world.push(&shop(), &[("app-3f2a91bc.js", one.clone())]).await;
    let second = world.push(&shop(), &[("app-77c01d2e.js", two.clone())]).await;
    assert_eq!(world.deltas(&two, &one).await, []);
    assert!(world.record(&shop(), &second.version).await.unwrap().deltas_from.is_empty());
    assert!(world.dictionaries.was_tried(Digest::of(&two), Digest::of(&one)));
    let returning = second.returning.unwrap();
    assert_eq!(returning.bytes, returning.plain_bytes);
}

#[tokio::test]
async fn what_has_no_time_before_the_switch_is_made_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { delta_ms_max: 0, ..Limits::default() };
    let world = world(folder.path(), Compress::default(), limits).await;
    let (one, two, prod) = (script(1, 1), script(1, 2), PlaceName::prod());
    let first = world.push(&shop(), &[("app-3f2a91bc.js", one.clone())]).await;
    // There was no time to compute names either.
    assert!(world.record(&shop(), &first.version).await.is_none_or(|record| record.files.is_empty()));
    assert!(world.dictionaries.after_switch(&shop(), &prod, first.version, &world.pool).await.unwrap());
    assert_eq!(world.record(&shop(), &first.version).await.unwrap().files.len(), 1);
    let second = world.push(&shop(), &[("app-77c01d2e.js", two.clone())]).await;
    assert_eq!(world.deltas(&two, &one).await, []);
    assert!(world.dictionaries.after_switch(&shop(), &prod, second.version, &world.pool).await.unwrap());
    assert_eq!(world.deltas(&two, &one).await, QUICK);
    // A second run has nothing to do.
    assert!(!world.dictionaries.after_switch(&shop(), &prod, second.version, &world.pool).await.unwrap());
    assert_eq!(world.dictionaries.improve(&shop(), second.version, &world.pool).await.unwrap(), 2);
    assert_eq!(world.deltas(&two, &one).await, BEST);
    assert_eq!(world.dictionaries.improve(&shop(), second.version, &world.pool).await.unwrap(), 0);
}

#[tokio::test]
async fn deltas_are_made_backwards_after_a_rollback() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let (one, two) = (script(1, 1), script(1, 2));
    let first = world.push(&shop(), &[("app-3f2a91bc.js", one.clone())]).await;
    world.push(&shop(), &[("app-77c01d2e.js", two.clone())]).await;
    let prod = PlaceName::prod();
    assert_eq!(world.rollback().await, first.version);
    assert!(world.dictionaries.after_switch(&shop(), &prod, first.version, &world.pool).await.unwrap());
    assert_eq!(world.deltas(&one, &two).await, QUICK);
    assert_eq!(of_prod(&world.record(&shop(), &first.version).await.unwrap()), [Digest::of(&two)].into());
}

#[tokio::test]
async fn what_strangers_may_not_read_serves_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let (one, two) = (script(1, 1), script(1, 2));
    let headers = b"/secret/*\n  Basic-Auth: ann:one\n".to_vec();
    let files = |script: &[u8], token: &str| {
        vec![
            ("_headers", headers.clone()),
            (if token == "1" { "secret/app-3f2a91bc.js" } else { "secret/app-77c01d2e.js" }, script.to_vec()),
            ("open-3f2a91bc.js", script_of(9)),
        ]
    };
    let first = world.push(&shop(), &files(&one, "1")).await;
    let second = world.push(&shop(), &files(&two, "2")).await;
    for version in [first.version, second.version] {
        let record = world.record(&shop(), &version).await.unwrap();
        assert_eq!(record.files.into_keys().collect::<Vec<_>>(), [Digest::of(&script_of(9))]);
        assert!(record.deltas_from.is_empty());
    }
    assert_eq!(world.deltas(&two, &one).await, []);
}

fn script_of(seed: u64) -> Vec<u8> {
    script(seed, 0)
}

#[tokio::test]
async fn pages_offer_large_files_whose_names_could_change_and_all_but_pages_serve() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let large = |release| [script(1, release), script(2, release)].concat();
    let files = |release| {
        vec![
            ("index.html", b"<link rel=stylesheet href=short.css><script src=./viewer.js?v=1></script>".to_vec()),
            ("short.css", script(3, release)),
            ("unnamed.js", large(release + 50)),
            ("viewer.js", large(release)),
        ]
    };
    let first = world.push(&shop(), &files(1)).await;
    let record = world.record(&shop(), &first.version).await.unwrap();
    assert_eq!(record.linked.iter().map(ToString::to_string).collect::<Vec<_>>(), ["viewer.js"]);
    let serving: BTreeSet<Digest> = record.files.into_keys().collect();
    assert_eq!(serving, [large(1), large(51), script(3, 1)].iter().map(|bytes| Digest::of(bytes)).collect());
    world.push(&shop(), &files(2)).await;
    assert_eq!(world.deltas(&large(2), &large(1)).await, QUICK);
    assert_eq!(world.deltas(&script(3, 2), &script(3, 1)).await, QUICK);
    assert_eq!(world.deltas(&large(52), &large(51)).await, QUICK);
}

#[tokio::test]
async fn a_browser_with_an_older_version_gets_its_delta_once_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Compress { dictionary_versions: 1, ..Compress::default() };
    let world = world(folder.path(), settings, patient()).await;
    let (one, two, three, others) = (script(1, 1), script(1, 2), script(1, 3), script(1, 4));
    world.push(&shop(), &[("app-3f2a91bc.js", one.clone())]).await;
    world.push(&shop(), &[("app-77c01d2e.js", two.clone())]).await;
    let four = script(1, 5);
    let files = [("app-1d2e77c0.js", three.clone()), ("lib-1d2e77c0.js", four.clone())];
    let third = world.push(&shop(), &files).await;
    world.push(&"other".parse().unwrap(), &[("app-3f2a91bc.js", others.clone())]).await;
    assert_eq!(world.deltas(&three, &one).await, []);
    let fulfilled = async |dictionary: &[u8], may: bool| {
        let (blob, sha256) = (Digest::of(&three), delta::sha256(dictionary));
        let miss = miss_of(third.version, blob, sha256);
        world.dictionaries.fulfil_one(&miss, &world.pool, &mut |_| may).await.unwrap()
    };
    // Blobs never sent by the app, stored for another app or not, and existing deltas require no work.
    assert!(!fulfilled(&others, true).await);
    assert!(!fulfilled(b"nobody has this", true).await);
    assert!(!fulfilled(&two, true).await);
    assert_eq!(world.deltas(&three, &others).await, []);
    assert!(!fulfilled(&one, false).await, "beyond the limit");
    assert_eq!(world.deltas(&three, &one).await, []);
    assert!(fulfilled(&one, true).await);
    assert_eq!(world.deltas(&three, &one).await, QUICK);
    let from = of_prod(&world.record(&shop(), &third.version).await.unwrap());
    assert_eq!(from, [Digest::of(&one), Digest::of(&two)].into());
    assert!(!fulfilled(&one, true).await);
    // A second file with the same dictionary is also reported.
    let (blob, sha256) = (Digest::of(&four), delta::sha256(&one));
    let miss = miss_of(third.version, blob, sha256);
    assert!(world.dictionaries.fulfil_one(&miss, &world.pool, &mut |_| true).await.unwrap());
}

#[tokio::test]
async fn the_record_goes_with_its_version_and_comes_again_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let files = [("app-3f2a91bc.js", script(1, 1))];
    let first = world.push(&shop(), &files).await;
    world.push(&shop(), &[("app-77c01d2e.js", script(1, 2))]).await;
    world
        .publisher
        .retention
        .delete_version(&Actor::local(), &shop(), &first.version.to_string(), false)
        .await
        .unwrap();
    assert_eq!(world.record(&shop(), &first.version).await, None);
    // A concurrent pass writes nothing about collected files.
    assert!(
        !world
            .dictionaries
            .add_from(&shop(), &first.version, &PlaceName::prod(), &[Digest::of(b"x")].into())
            .await
            .unwrap()
    );
    assert_eq!(world.record(&shop(), &first.version).await, None);
    world.push(&shop(), &files).await;
    assert_eq!(world.record(&shop(), &first.version).await.unwrap().files.len(), 1);
}

#[tokio::test]
async fn no_more_bytes_are_made_than_the_limit_says() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let (one, two) = (script(1, 1), script(1, 2));
    world.push(&shop(), &[("app-3f2a91bc.js", one.clone()), ("new-3f2a91bc.js", two.clone())]).await;
    let pair = Pair::wanted(Digest::of(&two), Digest::of(&one), delta::sha256(&one), two.len() as u64);
    let left = AtomicU64::new(10);
    assert_eq!(world.dictionaries.make_pair(pair, &world.pool, None, &left).await.unwrap(), 0);
    assert_eq!(world.deltas(&two, &one).await, []);
    let left = AtomicU64::new(100_000);
    assert_eq!(world.dictionaries.make_pair(pair, &world.pool, None, &left).await.unwrap(), 2);
    assert!(left.into_inner() < 100_000);
}

/// Site of five pages with much common content.
fn site(release: u64) -> Vec<(&'static str, Vec<u8>)> {
    let frame = String::from_utf8(script(7, 0)[..20_000].to_vec()).unwrap();
    let page = |number: u64| format!("<!doctype html>{frame}<p>{number} in {release}</p></html>").into_bytes();
    ["a.html", "b.html", "c.html", "d.html", "index.html"].into_iter().zip(1..).map(|(p, n)| (p, page(n))).collect()
}

#[tokio::test]
async fn pages_share_a_dictionary_that_the_next_release_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let first = world.push(&shop(), &site(1)).await;
    let pages = world.record(&shop(), &first.version).await.unwrap().pages.unwrap();
    let dictionary = world.blobs.get(Key::Blob(pages.blob)).await.unwrap();
    assert_eq!((pages.sha256, pages.size), (delta::sha256(&dictionary), dictionary.len() as u64));
    let second = world.push(&shop(), &site(2)).await;
    let record = world.record(&shop(), &second.version).await.unwrap();
    assert_eq!(record.pages, Some(pages));
    assert_eq!(record.pages_of.len(), 5);
    let variants = world.blobs.variants(pages.blob).await.unwrap();
    assert!(variants.iter().any(|variant| variant.quality == Quality::Best), "{variants:?}");
    assert_eq!(of_prod(&record), [pages.blob].into());
    for (path, page) in site(1).iter().chain(&site(2)) {
        assert_eq!(world.deltas(page, &dictionary).await, QUICK, "{path}");
    }
    let returning = second.returning.unwrap();
    assert!(returning.bytes * 5 < returning.plain_bytes, "{returning:?}");

    // Only the record names the dictionary.
    age(folder.path());
    world.publisher.retention.collect(CollectOptions::default()).await.unwrap();
    assert!(world.blobs.get(Key::Blob(pages.blob)).await.is_ok());
}

#[tokio::test]
async fn a_dictionary_of_pages_is_not_kept_once_one_of_them_is_withdrawn_or_guarded() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let first = world.push(&shop(), &site(1)).await;
    let one = world.record(&shop(), &first.version).await.unwrap();
    let guarded = [site(2), vec![("_headers", b"/a.html\n  Basic-Auth: ann:one\n".to_vec())]].concat();
    let second = world.push(&shop(), &guarded).await;
    let two = world.record(&shop(), &second.version).await.unwrap();
    assert!(two.pages.is_some() && !two.pages_of.iter().any(|path| path.as_str() == "a.html"), "{:?}", two.pages_of);
    let request = serde_json::from_str(r#"{"path": "/b"}"#).unwrap();
    world.publisher.retention.withdraw(&Actor::local(), &shop(), &request, false).await.unwrap();
    let third = world.push(&shop(), &site(3)).await;
    let three = world.record(&shop(), &third.version).await.unwrap();
    assert!(one.pages_of.iter().any(|path| path.as_str() == "b.html"));
    assert!(
        three.pages.is_some() && !three.pages_of.iter().any(|path| path.as_str() == "b.html"),
        "{:?}",
        three.pages_of
    );
    // A version coming back does not keep its own dictionary either.
    world.dictionaries.after_switch(&shop(), &PlaceName::prod(), first.version, &world.pool).await.unwrap();
    let again = world.record(&shop(), &first.version).await.unwrap();
    assert!(!again.pages_of.iter().any(|path| path.as_str() == "b.html"), "{:?}", again.pages_of);
}

#[tokio::test]
async fn a_dictionary_of_pages_goes_when_no_record_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let first = world.push(&shop(), &site(1)).await;
    let pages = world.record(&shop(), &first.version).await.unwrap().pages.unwrap();
    world.push(&shop(), &[("index.html", page())]).await;
    world
        .publisher
        .retention
        .delete_version(&Actor::local(), &shop(), &first.version.to_string(), false)
        .await
        .unwrap();
    age(folder.path());
    world.publisher.retention.collect(CollectOptions::default()).await.unwrap();
    assert_eq!(world.blobs.size(Key::Blob(pages.blob)).await.unwrap(), None);
}

#[tokio::test]
async fn pages_that_are_unlike_share_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let first = world.push(&shop(), &[("a.html", script(1, 0)), ("b.html", script(2, 0)), ("c.html", page())]).await;
    assert_eq!(world.record(&shop(), &first.version).await.unwrap().pages, None);
}

/// Sets the age of every blob to the maximum.
fn age(folder: &Path) {
    for shard in std::fs::read_dir(folder.join("blobs")).unwrap() {
        for file in std::fs::read_dir(shard.unwrap().path()).unwrap() {
            let file = std::fs::File::open(file.unwrap().path()).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }
    }
}
