//! Conformance tests of ACME stores, with additional tests of the cluster store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use devanture_config::limits::Limits;

use super::folder::Folder;
use super::shared::{CERTIFICATES, SharedRecords, SharedStore, Unread};
use super::*;
use crate::acme::held::pem_of;
use crate::acme::lookup::Lookup;
use crate::acme::schedule::{Ended, ManagedName, Rules};
use crate::ledger::{AcmeRecords, Member, Members, WritePause, pause_changes, resume_changes};
use crate::settings::KeyFile;
use devanture_serve::tls::provider;
use devanture_store::catalog::{self, Catalog, Change, Commit, Record};

const AUTHORITY: &str = "https://acme.example.org/dir";

async fn keeps_an_account(open: &impl AsyncFn() -> Arc<dyn Store>) {
    assert!(open().await.account().await.unwrap().is_none());
    for contact in ["mailto:a@example.org", "mailto:b@example.org"] {
        let credentials = serde_json::json!({"id": "https://a/1", "key": contact});
        open().await.keep_account(&KeptAccount { contact: vec![contact.to_owned()], credentials }).await.unwrap();
        let kept = open().await.account().await.unwrap().unwrap();
        assert_eq!((kept.contact, &kept.credentials["key"]), (vec![contact.to_owned()], &contact.into()));
    }
    open().await.remove_account().await.unwrap();
    open().await.remove_account().await.unwrap();
    assert!(open().await.account().await.unwrap().is_none());
}

async fn keeps_certificates(open: &impl AsyncFn() -> Arc<dyn Store>, names: &impl AsyncFn() -> Vec<String>) {
    assert!(names().await.is_empty());
    let long = format!("{}.{}.{}.{}.example", "a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60));
    for name in ["a.example", "b.example", &long, "a.example"] {
        open().await.keep_certificate(name, &pem_of(&[name])).await.unwrap();
    }
    open().await.remove_certificate("b.example").await.unwrap();
    open().await.remove_certificate("nobody.example").await.unwrap();
    assert_eq!(names().await, ["a.example", &long]);
}

async fn keeps_the_history_of_orders(open: &impl AsyncFn() -> Arc<dyn Store>) {
    let rules = Rules::new(&Limits::default());
    let wanted = |name: &str| ManagedName { app: "shop".parse().ok(), name: name.to_owned(), not_after_ms: None };
    let mut books = open().await.books().await;
    assert_eq!(books.begin(vec![wanted("a.example"), wanted("b.example")], &rules, 1_000).len(), 2);
    let failed = Ended::Failed { retry_after_ms: 0, unproven: true };
    for name in ["a.example", "b.example"] {
        books.end(name, failed, &rules, 2_000);
    }
    let store = open().await;
    store.books().await;
    store.keep_books(&books).await.unwrap();
    let mut kept = open().await.books().await;
    assert_eq!((kept.failures("a.example"), kept.way("b.example")), (1, 1));
    assert!(kept.begin(vec![wanted("a.example")], &rules, 3_000).is_empty(), "it is rested from");

    kept.forget(|name| name == "a.example", 86_400_000);
    let store = open().await;
    store.books().await;
    store.keep_books(&kept).await.unwrap();
    let kept = open().await.books().await;
    assert_eq!((kept.failures("a.example"), kept.failures("b.example")), (1, 0));
}

async fn shows_and_hides_proofs(open: &impl AsyncFn() -> Arc<dyn Store>) {
    let proof = Proof::Http { token: "t".to_owned(), key_authorization: "t.k".to_owned() };
    let store = open().await;
    store.show_proof("a.example", &proof).await.unwrap();
    store.hide_proof("a.example").await.unwrap();
    store.hide_proof("a.example").await.unwrap();
}

/// Test suite. `open` opens the same store each time, with its state preserved. `names` returns the sorted names of its
/// certificates.
async fn is_a_store(open: &impl AsyncFn() -> Arc<dyn Store>, names: &impl AsyncFn() -> Vec<String>) {
    keeps_an_account(open).await;
    keeps_certificates(open, names).await;
    keeps_the_history_of_orders(open).await;
    shows_and_hides_proofs(open).await;
}

#[tokio::test]
async fn a_folder_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let opened = || Folder::open(folder.path(), AUTHORITY, provider()).unwrap();
    let open = async || Arc::new(opened()) as Arc<dyn Store>;
    let names = async || {
        let held = opened().read_certificates().unwrap();
        let mut names: Vec<String> = held.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    is_a_store(&open, &names).await;
}

/// Shared catalog, as seen by a node.
struct World {
    folder: tempfile::TempDir,
    catalog: Arc<dyn Catalog>,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        Self { folder, catalog }
    }

    fn shared(&self, key_file: &str) -> SharedRecords {
        let records = AcmeRecords::new(Arc::clone(&self.catalog), &authority_name(AUTHORITY));
        let keys = Arc::new(KeyFile::new(Some(self.folder.path().join(key_file))));
        SharedRecords { records, keys, provider: provider() }
    }

    /// Returns the store of a node that takes the duty from any other.
    async fn store(&self, key_file: &str) -> SharedStore {
        let own = Member {
            node: "edge-1".to_owned(),
            advertise: ([127, 0, 0, 1], 9).into(),
            home: String::new(),
            release: String::new(),
            started_ms: 0,
            listens: None,
        };
        let members = Members::new(Arc::clone(&self.catalog), own, Duration::from_secs(9));
        let ended = Commit { checks: Vec::new(), changes: vec![Change::Delete("duties/acme".to_owned())] };
        self.catalog.commit(ended).await.unwrap();
        SharedStore::new(self.shared(key_file), members.take_duty("acme").await.unwrap().unwrap())
    }
}

#[tokio::test]
async fn what_nodes_share_is_a_store() {
    let world = World::start();
    let open = async || Arc::new(world.store("keys").await) as Arc<dyn Store>;
    let names = async || {
        let shared = world.shared("keys");
        let listed = shared.records.list(CERTIFICATES).await.unwrap();
        let is_read = |(name, record): &(String, Record)| shared.certificate(name, &record.value).is_ok();
        listed.into_iter().filter(is_read).map(|(name, _)| name).collect()
    };
    is_a_store(&open, &names).await;
}

#[tokio::test]
async fn no_key_and_no_credential_is_in_the_catalog_but_sealed() {
    let world = World::start();
    let store = world.store("keys").await;
    let pem = pem_of(&["a.example"]);
    store.keep_certificate("a.example", &pem).await.unwrap();
    let credentials = serde_json::json!({"key_pkcs8": "the-key-of-the-account"});
    store.keep_account(&KeptAccount { contact: Vec::new(), credentials }).await.unwrap();
    let records = world.catalog.list("acme/", None, false, 100).await.unwrap();
    assert_eq!(records.len(), 2);
    let key_line = pem.lines().nth(1).unwrap();
    for (key, record) in &records {
        let text = String::from_utf8(record.value.to_vec()).unwrap();
        assert!(!text.contains("PRIVATE KEY") && !text.contains(key_line), "{key}");
        assert!(!text.contains("the-key-of-the-account"), "{key}");
    }

    // The encrypted value is bound to its name, and readable only with the key.
    let (_, certificate) = &records[1];
    let read = |key_file: &str, name: &str| world.shared(key_file).certificate(name, &certificate.value);
    assert!(read("keys", "a.example").is_ok());
    assert!(matches!(read("keys", "b.example"), Err(Unread::Bad(_))));
    assert!(matches!(read("other-keys", "a.example"), Err(Unread::Locked)));
    assert!(world.store("other-keys").await.account().await.unwrap().is_none());
}

#[tokio::test]
async fn a_node_whose_duty_another_one_has_taken_on_writes_nothing_more() {
    let world = World::start();
    let before = world.store("keys").await;
    before.keep_certificate("a.example", &pem_of(&["a.example"])).await.unwrap();
    let listed = async || {
        world.catalog.list(&format!("acme/{}/{CERTIFICATES}", authority_name(AUTHORITY)), None, false, 9).await
    };
    let first = listed().await.unwrap();
    let _after = world.store("keys").await;
    let proof = Proof::TlsAlpn { digest: vec![1; 32] };
    let conflict = |error: Error| matches!(error, Error::Catalog(catalog::Error::Conflict { .. }));
    assert!(conflict(before.keep_certificate("a.example", &pem_of(&["a.example"])).await.unwrap_err()));
    assert!(conflict(before.remove_certificate("a.example").await.unwrap_err()));
    assert!(conflict(before.show_proof("a.example", &proof).await.unwrap_err()));
    let mut books = Books::default();
    books.end("a.example", Ended::Unanswered { retry_after_ms: 9 }, &Rules::new(&Limits::default()), 1);
    assert!(conflict(before.keep_books(&books).await.unwrap_err()));
    assert_eq!(listed().await.unwrap(), first);
}

#[tokio::test(start_paused = true)]
async fn what_an_authority_gave_is_kept_once_a_pause_of_changes_is_over() {
    let world = World::start();
    let store = world.store("keys").await;
    assert!(!store.is_paused().await);
    pause_changes(&*world.catalog, &WritePause { at_ms: 1, seconds: 60 }).await.unwrap();
    assert!(store.is_paused().await);
    let refused = store.keep_books(&Books::default()).await;
    assert!(matches!(refused, Err(Error::Catalog(catalog::Error::Paused))), "{refused:?}");

    let proof = Proof::Http { token: "t".to_owned(), key_authorization: "t.k".to_owned() };
    let account = KeptAccount { contact: Vec::new(), credentials: serde_json::json!({}) };
    let pem = pem_of(&["a.example"]);
    let shared = world.shared("keys");
    let is_over = AtomicBool::new(false);
    let kept = async {
        let kept = tokio::try_join!(
            store.keep_certificate("a.example", &pem),
            store.keep_account(&account),
            store.show_proof("a.example", &proof)
        );
        kept.unwrap();
        assert!(is_over.load(Ordering::Relaxed));
    };
    let pause = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        // No proof, which would vanish with its lease, enters the catalog meanwhile.
        assert!(shared.records.list("").await.unwrap().is_empty());
        is_over.store(true, Ordering::Relaxed);
        resume_changes(&*world.catalog, None).await.unwrap();
    };
    tokio::join!(kept, pause);
    assert_eq!(shared.records.list(CERTIFICATES).await.unwrap().len(), 1);
    assert_eq!(shared.proof("a.example").await.unwrap(), Some(proof));
}

#[tokio::test]
async fn a_proof_that_a_node_knows_is_shown_however_many_ask_for_others() {
    let world = World::start();
    let proof = Proof::Http { token: "t".to_owned(), key_authorization: "t.k".to_owned() };
    world.store("keys").await.show_proof("a.example", &proof).await.unwrap();
    let lookup = Lookup::busy(world.shared("keys"));
    assert_eq!(lookup.find("a.example", |_| true).await, Some(proof));
    assert_eq!(lookup.find("b.example", |_| true).await, None);
}
