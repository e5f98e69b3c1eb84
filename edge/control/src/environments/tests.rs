//! Tests of changes overtaken by another commit, and of expiring links.

use std::path::Path;

use devanture_config::api::{HostnameRequest, Protection, ProtectionRequest, ShareRequest};
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName};

use super::*;
use crate::access::Credentials;
use crate::encode;
use crate::ledger::{Actor, Error};
use devanture_base::clock;
use devanture_serve::live::{Domains, Follower, Grace, Live, Loader};
use devanture_store::catalog::overtaken::Overtaken;
use devanture_store::catalog::{self, Catalog, Change, Commit};
use devanture_store::records::protection::{PROTECTION_PREFIX, SHARES_PREFIX, ShareRecord, shares_prefix};
use devanture_store::records::{self, AppRecord, HOSTNAMES_PREFIX, LivePointer};

/// An app with a live version in `prod`, over a catalog in which a test can place events before a commit.
struct World {
    environments: Environments,
    credentials: Credentials,
    overtaken: Arc<Overtaken>,
    app: AppName,
    prod: PlaceName,
    follower: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

async fn world(folder: &Path) -> World {
    let blobs = devanture_store::blobs::open(folder.to_owned()).unwrap();
    let overtaken = Overtaken::new(catalog::open(&folder.join("catalog.redb")).unwrap());
    let catalog: Arc<dyn Catalog> = Arc::<Overtaken>::clone(&overtaken);
    let (app, prod): (AppName, _) = ("shop".parse().unwrap(), PlaceName::prod());
    let position = "history/none".to_owned();
    let pointer = LivePointer { switched_ms: 2, deploy: "1".to_owned(), position, ..LivePointer::unknown() };
    let live_key = records::live_key(&app, &prod);
    put(&*catalog, vec![app_made(&app, 1), Change::Put(live_key, records::write(&pointer).unwrap())]).await;
    let domain = || "localhost".parse().unwrap();
    let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
    let limits = Limits::default();
    let loader = Loader::new(Arc::clone(&blobs), Arc::clone(&catalog), &limits);
    let follower = Follower::start(live.clone(), loader, encode::remade_channel().subscribe()).await.unwrap();
    let ledger = Arc::new(Ledger::new(Arc::clone(&catalog), live, &limits));
    let credentials = Credentials::new(catalog, ledger.audit().clone(), &limits);
    let environments = Environments::new(ledger, Parts::plain(blobs, folder));
    World { environments, credentials, overtaken, app, prod, follower: tokio::spawn(follower.run()) }
}

async fn put(catalog: &dyn Catalog, changes: Vec<Change>) {
    catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
}

fn app_made(app: &AppName, created_ms: u64) -> Change {
    let record = AppRecord { created_ms, who: "ada".to_owned() };
    Change::Put(records::app_key(app), records::write(&record).unwrap())
}

impl World {
    async fn share(&self) -> Result<(), Error> {
        let request = ShareRequest { target: "prod".to_owned(), expires_s: Some(60), password: None };
        let actor = Actor::local();
        self.environments.protection.make_share(&actor, &self.credentials, &self.app, request, "/_/").await.map(drop)
    }

    async fn protect(&self) -> Result<(), Error> {
        let request = ProtectionRequest { mode: Some(Protection::Token), password: None };
        let place = (&self.app, &self.prod);
        self.environments.protection.protect(&Actor::local(), &self.credentials, place, request, false).await.map(drop)
    }

    async fn name(&self) -> Result<(), Error> {
        let (host, request) = ("www.example.org".parse().unwrap(), HostnameRequest::default());
        let (app, prod) = (&self.app, &self.prod);
        self.environments.hostnames.set_hostname(&Actor::local(), app, prod, &host, &request, false).await.map(drop)
    }

    async fn count(&self, prefix: &str) -> usize {
        self.overtaken.stored.list(prefix, None, false, usize::MAX).await.unwrap().len()
    }
}

#[tokio::test]
async fn what_was_allowed_for_an_app_is_not_done_to_the_next_one_of_its_name() {
    for prefix in [HOSTNAMES_PREFIX, PROTECTION_PREFIX, SHARES_PREFIX] {
        let folder = tempfile::tempdir().unwrap();
        let world = world(folder.path()).await;
        world.overtaken.before_commit_of(prefix, vec![app_made(&world.app, 2)]);
        let changed = match prefix {
            HOSTNAMES_PREFIX => world.name().await,
            PROTECTION_PREFIX => world.protect().await,
            _ => world.share().await,
        };
        assert_eq!(changed.unwrap_err().0.code, Code::Deleted, "{prefix}");
        world.overtaken.assert_overtaken();
        assert_eq!(world.count(prefix).await, 0, "{prefix}");
    }
}

#[tokio::test]
async fn a_link_that_a_clock_that_leapt_ahead_would_end_stays() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    world.share().await.unwrap();
    let listed = world.overtaken.stored.list(&shares_prefix(&world.app), None, false, usize::MAX).await.unwrap();
    let (key, record) = listed.first().unwrap();
    let now_ms = clock::now_ms();
    let ended = ShareRecord { expires_ms: now_ms - 1, ..records::read(key, record).unwrap() };
    put(&*world.overtaken.stored, vec![Change::Put(key.clone(), records::write(&ended).unwrap())]).await;
    clock::settle_own_clock_from(now_ms - 10 * 86_400_000);
    world.share().await.unwrap();
    assert_eq!(world.count(SHARES_PREFIX).await, 2);
    assert_eq!(world.environments.protection.shares(&Actor::local(), &world.app).await.unwrap().shares.len(), 1);
    clock::settle_own_clock_from(now_ms);
    world.share().await.unwrap();
    assert_eq!(world.count(SHARES_PREFIX).await, 2);
}
