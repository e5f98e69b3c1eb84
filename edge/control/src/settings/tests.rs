//! Tests of settings over a separate catalog: opening secrets, and retention of revisions.

use std::future::ready;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use devanture_config::api::{SettingWanted, SettingsPatch};
use devanture_config::limits::Limits;

use super::*;
use crate::environments::{Environments, Parts};
use crate::ledger::Actor;
use devanture_serve::live::{Domains, Grace, Live};
use devanture_store::catalog::overtaken::Overtaken;
use devanture_store::catalog::{COMMIT_CHANGES_MAX, Change};
use devanture_store::records::settings::{Sealed, settings_key};
use devanture_store::records::{self, AppRecord, LivePointer, app_key, live_key};

struct World {
    environments: Environments,
    catalog: Arc<dyn Catalog>,
    app: AppName,
    prod: PlaceName,
}

/// Creates stores with an app without a live version.
async fn world(folder: &Path) -> World {
    world_with(folder, &Limits::default()).await
}

async fn world_with(folder: &Path, limits: &Limits) -> World {
    let blobs = devanture_store::blobs::open(folder.to_owned()).unwrap();
    let catalog: Arc<dyn Catalog> =
        Overtaken::new(devanture_store::catalog::open(&folder.join("catalog.redb")).unwrap());
    let domain = || "localhost".parse().unwrap();
    let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
    let ledger = Arc::new(Ledger::new(Arc::clone(&catalog), live, limits));
    let environments = Environments::new(ledger, Parts::plain(blobs, folder));
    let (app, prod): (AppName, _) = ("shop".parse().unwrap(), PlaceName::prod());
    let record = records::write(&AppRecord { created_ms: 0, who: "me".to_owned() }).unwrap();
    let world = World { environments, catalog, app, prod };
    world.put(app_key(&world.app), record).await;
    world
}

impl World {
    async fn put(&self, key: String, value: Arc<[u8]>) {
        let changes = vec![Change::Put(key, value)];
        self.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    }

    /// Applies a patch in the form `A=1 B!=2 C?=3 -D`: plain, secret, public, unset.
    async fn change(&self, words: &str) -> Result<u64, Code> {
        let mut patch = SettingsPatch::default();
        for word in words.split(' ') {
            match word.split_once('=') {
                None => patch.unset.push(word.trim_start_matches('-').to_owned()),
                Some((name, value)) => {
                    let (secret, public) = (name.ends_with('!').then_some(true), name.ends_with('?').then_some(true));
                    let name = name.trim_end_matches(['!', '?']).to_owned();
                    patch
                        .set
                        .insert(name, SettingWanted { value: value.to_owned(), public, secret, development: None });
                }
            }
        }
        let place = (&self.app, &self.prod);
        let changed = self
            .environments
            .settings
            .change_settings(&Actor::local(), place, &patch, (None, false), ready(Ok(())))
            .await;
        changed.map(|report| report.revision).map_err(|error| error.0.code)
    }

    /// Returns all opened settings in the form `A=1 B=2`.
    async fn opened(&self, revision: u64) -> Result<String, String> {
        let opened = open(&*self.catalog, &self.environments.settings.keys, &self.app, &self.prod, revision).await;
        let text = |(name, value): (&SettingName, &OpenedValue)| format!("{name}={}", value.expose());
        let opened = opened.map(|opened| opened.iter().map(text).collect::<Vec<_>>().join(" "));
        opened.map_err(|error| format!("{}: {}", error.0.code.as_str(), error.0.detail))
    }

    async fn stored(&self, revision: u64) -> SettingsRecord {
        settings::at(&*self.catalog, &self.app, &self.prod, revision).await.unwrap().unwrap().0
    }

    async fn kept(&self) -> Vec<u64> {
        let prefix = settings::settings_prefix(&self.app, &self.prod);
        let records = self.catalog.list(&prefix, None, false, usize::MAX).await.unwrap();
        records.iter().filter_map(|(key, _)| settings::revision_of(key)).collect()
    }
}

#[tokio::test]
async fn everything_of_a_revision_opens_and_no_secret_is_in_a_record_or_a_debug_text() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    assert_eq!(world.change("A=1 KEY!=hush C?=3").await, Ok(1));
    assert_eq!(world.change("A=2 OTHER!=quiet").await, Ok(2));
    assert_eq!(world.change("-KEY").await, Ok(3));
    assert_eq!(world.opened(0).await.unwrap(), "");
    assert_eq!(world.opened(1).await.unwrap(), "A=1 C=3 KEY=hush");
    // A secret sealed in an earlier revision opens in a later revision.
    assert_eq!(world.opened(2).await.unwrap(), "A=2 C=3 KEY=hush OTHER=quiet");
    assert_eq!(world.opened(3).await.unwrap(), "A=2 C=3 OTHER=quiet");
    assert!(world.opened(4).await.unwrap_err().starts_with("not_found"));
    for revision in 1..=3 {
        let record = world.stored(revision).await;
        let texts = format!("{record:?} {}", serde_json::to_string(&record).unwrap());
        assert!(!texts.contains("hush") && !texts.contains("quiet"), "{texts}");
    }
    let opened = open(&*world.catalog, &world.environments.settings.keys, &world.app, &world.prod, 2).await.unwrap();
    assert!(!format!("{opened:?}").contains("hush"));
}

#[tokio::test]
async fn a_secret_that_was_moved_damaged_or_whose_key_is_lost_is_an_error_and_can_be_set_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    world.change("KEY!=hush OTHER!=quiet").await.unwrap();
    let record = world.stored(1).await;
    let key: SettingName = "KEY".parse().unwrap();
    let other: SettingName = "OTHER".parse().unwrap();
    let StoredValue::Secret(sealed) = record.settings[&key].value.clone() else { panic!("{record:?}") };
    let changed = async |change: &dyn Fn(&mut SettingsRecord)| {
        let mut changed = record.clone();
        change(&mut changed);
        world.put(settings_key(&world.app, &world.prod, 1), records::write(&changed).unwrap()).await;
        world.opened(1).await.unwrap_err()
    };
    let value = |record: &mut SettingsRecord, name: &SettingName, sealed: Sealed| {
        record.settings.get_mut(name).unwrap().value = StoredValue::Secret(sealed);
    };
    let moved = changed(&|record| value(record, &other, sealed.clone())).await;
    assert!(moved.starts_with("secrets_locked") && moved.contains("OTHER"), "{moved}");
    let mut bytes = sealed.bytes().unwrap();
    bytes[20] ^= 1;
    let damaged = changed(&|record| value(record, &key, Sealed::new(sealed.key.clone(), &bytes))).await;
    assert!(damaged.contains("KEY does not open: its bytes are damaged"), "{damaged}");
    let short = changed(&|record| value(record, &key, Sealed::new(sealed.key.clone(), b"short"))).await;
    assert!(short.contains("damaged"), "{short}");
    let later = changed(&|record| record.settings.get_mut(&key).unwrap().revision = 2).await;
    assert!(later.contains("damaged"), "{later}");
    let moved_place = settings_key(&world.app, &"staging".parse().unwrap(), 1);
    world.put(moved_place, records::write(&record).unwrap()).await;
    let opened =
        open(&*world.catalog, &world.environments.settings.keys, &world.app, &"staging".parse().unwrap(), 1).await;
    assert_eq!(opened.unwrap_err().0.code, Code::SecretsLocked);

    // Without the key, the lost secret is reported; a new value is sealed with a new key.
    world.put(settings_key(&world.app, &world.prod, 1), records::write(&record).unwrap()).await;
    devanture_base::durable::remove_file(&folder.path().join("secrets.key")).unwrap();
    let lost = world.opened(1).await.unwrap_err();
    assert!(lost.contains("the key that it was sealed with is not at hand"), "{lost}");
    let list = world.environments.settings.settings(&world.app, &world.prod).await.unwrap();
    assert!(list.settings.iter().all(|setting| setting.secret && setting.lost && setting.value.is_none()));
    world.environments.settings.check_secrets().await.unwrap();
    let sentences: Vec<String> = world.environments.settings.lost_secrets().iter().map(LostSecrets::sentence).collect();
    let of_prod = sentences.iter().find(|sentence| sentence.contains(" in prod lack their key")).unwrap();
    assert!(of_prod.starts_with("2 secrets of ") && of_prod.contains("restore the key file"), "{of_prod}");
    assert_eq!(world.change("KEY!=hush").await, Ok(2));
    let list = world.environments.settings.settings(&world.app, &world.prod).await.unwrap();
    let lost: Vec<&str> = list.settings.iter().filter(|one| one.lost).map(|one| one.name.as_str()).collect();
    assert_eq!(lost, ["OTHER"]);
    assert_eq!(world.change("-OTHER").await, Ok(3));
    assert_eq!(world.opened(3).await.unwrap(), "KEY=hush");
}

#[tokio::test]
async fn nothing_is_written_where_nothing_changes_and_a_secret_is_always_sealed_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    assert_eq!(world.change("A=1 KEY!=hush").await, Ok(1));
    assert_eq!(world.change("A=1 -NONE").await, Ok(1));
    assert_eq!(world.kept().await, [1]);
    // Otherwise the answer would tell an actor with write but without read access if a guess is right.
    assert_eq!(world.change("KEY=hush").await, Ok(2));
    assert_eq!(world.change("KEY=other").await, Ok(3));
    assert_eq!(world.change("KEY=hush").await, Ok(4));
    let path = folder.path().join("secrets.key");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str(&format!("{}\n", hex::encode([7; 32])));
    devanture_base::durable::write_file(&path, text.as_bytes(), 0o600).unwrap();
    // Both keys open; the newer key seals.
    assert_eq!(world.opened(1).await.unwrap(), "A=1 KEY=hush");
    assert_eq!(world.change("KEY=hush").await, Ok(5));
    let text = format!("{}\n", hex::encode([7; 32]));
    devanture_base::durable::write_file(&path, text.as_bytes(), 0o600).unwrap();
    assert_eq!(world.opened(5).await.unwrap(), "A=1 KEY=hush");
    assert!(world.opened(1).await.unwrap_err().starts_with("secrets_locked"));
}

#[tokio::test]
async fn a_name_keeps_its_kind_until_another_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    world.change("A=1 KEY!=hush C?=3").await.unwrap();
    world.change("A=2 KEY=new C=4").await.unwrap();
    let kinds = async || {
        let list = world.environments.settings.settings(&world.app, &world.prod).await.unwrap();
        let kind = |one: &SettingStatus| {
            format!("{}{}{}", one.name, if one.secret { "!" } else { "" }, if one.public { "?" } else { "" })
        };
        list.settings.iter().map(kind).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kinds().await, "A C? KEY!");
    assert_eq!(world.change("KEY?=shown").await, Err(Code::BadSetting));
    assert_eq!(world.change("C!=5").await, Ok(3));
    assert_eq!(kinds().await, "A C! KEY!");
    let plain = SettingWanted { value: "open".to_owned(), public: Some(true), secret: Some(false), development: None };
    let patch = SettingsPatch { set: [("KEY".to_owned(), plain)].into(), unset: Vec::new() };
    let (place, always) = ((&world.app, &world.prod), ready(Ok(())));
    world.environments.settings.change_settings(&Actor::local(), place, &patch, (None, false), always).await.unwrap();
    assert_eq!(kinds().await, "A C! KEY?");
}

#[tokio::test]
async fn old_revisions_go_but_for_those_that_a_rollback_reaches() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { settings_revisions_max: 3, ..Limits::default() };
    let world = world_with(folder.path(), &limits).await;
    for number in 0..5 {
        world.change(&format!("A={number}")).await.unwrap();
    }
    assert_eq!(world.kept().await, [3, 4, 5]);
    // The pointer names an old revision, as after a rollback: the next number is still new.
    let pointer = LivePointer {
        version: devanture_config::VersionId::of(b""),
        settings: 3,
        switched_ms: 0,
        deploy: String::new(),
        begun: 0,
        position: String::new(),
        halves_begun: None,
        canary: None,
        pins: None,
    };
    world.put(live_key(&world.app, &world.prod), records::write(&pointer).unwrap()).await;
    let held = settings::held(&*world.catalog, &world.app, &world.prod).await.unwrap();
    assert_eq!((held.revision, held.newest), (3, 5));
}

/// Simulates a lowered limit. A catalog in etcd takes [`COMMIT_CHANGES_MAX`] changes per commit; the catalog of this
/// test rejects larger commits, too.
#[tokio::test]
async fn any_number_of_old_revisions_goes_with_the_next_ones() {
    let folder = tempfile::tempdir().unwrap();
    let world = world_with(folder.path(), &Limits { settings_revisions_max: 1, ..Limits::default() }).await;
    assert_eq!(world.change("A=0").await, Ok(1));
    let first = records::write(&world.stored(1).await).unwrap();
    let revisions = 1..u64::try_from(COMMIT_CHANGES_MAX).unwrap() + 4;
    for revision in revisions.clone() {
        world.put(settings_key(&world.app, &world.prod, revision), Arc::clone(&first)).await;
    }
    assert_eq!(world.change("A=1").await, Ok(revisions.end));
    assert_eq!(world.change("A=2").await, Ok(revisions.end + 1));
    assert_eq!(world.kept().await, [revisions.end + 1]);
}

#[test]
fn keys_of_another_edge_open_here_and_the_own_one_seals() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| KeyFile::new(Some(folder.path().join(name)));
    let (own, other, new) = (file("own"), file("other"), file("new"));
    let sealed = other.read_or_make().unwrap().seal("a", "hush").unwrap();
    let own_id = own.read_or_make().unwrap().seal("a", "own").unwrap().key;
    assert_eq!(own.adopt(&folder.path().join("other")).unwrap(), 1);
    let keys = own.read().unwrap();
    assert_eq!(keys.open("a", &sealed).unwrap(), "hush");
    assert_eq!(keys.seal("a", "again").unwrap().key, own_id);
    // The keys are in place, also after a repeated call, and in a newly created file.
    assert_eq!(own.adopt(&folder.path().join("other")).unwrap(), 0);
    assert_eq!(new.adopt(&folder.path().join("own")).unwrap(), 2);
    assert_eq!(new.read().unwrap().seal("a", "new").unwrap().key, own_id);
}

#[tokio::test]
async fn a_change_that_waits_its_turn_is_refused_once_its_maker_may_not_make_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    let setting = SettingWanted { value: "1".to_owned(), public: None, secret: None, development: None };
    let patch = SettingsPatch { set: [("A".to_owned(), setting)].into(), unset: Vec::new() };
    let turn = world.environments.instances.take_turn(&world.app, &world.prod).await.unwrap();
    let is_revoked = AtomicBool::new(false);
    let still_may = async {
        let refused = Problem::new(Code::BadToken, "The token is unknown, revoked or expired.");
        if is_revoked.load(Ordering::Relaxed) { Err(refused.into()) } else { Ok(()) }
    };
    let (actor, place) = (Actor::local(), (&world.app, &world.prod));
    let change = world.environments.settings.change_settings(&actor, place, &patch, (None, false), still_may);
    let (changed, ()) = tokio::join!(change, async {
        is_revoked.store(true, Ordering::Relaxed);
        drop(turn);
    });
    assert_eq!(changed.unwrap_err().0.code, Code::BadToken);
    assert!(world.kept().await.is_empty());
}
