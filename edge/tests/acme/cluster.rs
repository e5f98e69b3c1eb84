//! Cluster nodes share one ACME account and one order per name; any node answers the authority's validation requests.

use std::collections::BTreeSet;

use devanture_config::api::BeginDeploy;

use crate::acme::dns::Dns;
use crate::acme::door::Door;
use crate::acme::pebble::{Pebble, PebbleOptions, is_installed};
use crate::acme::tls::{PresentedCertificate, shown};
use crate::acme::world::{AcmeNetwork, wait_for};
use crate::cluster::world::{self, COMES_MAX};
use crate::support::{RunningEdge, manifest};

/// Default name of the app's environment.
const NAME: &str = "shop.apps.test";

/// Cluster, ACME authority and the network paths between them.
struct World {
    cluster: world::World,
    pebble: Pebble,
    authority: Door,
    http: Door,
    https: Door,
    folder: tempfile::TempDir,
    _dns: Dns,
}

impl World {
    /// Starts three nodes; `None` if a required program is not installed.
    async fn start(manner: PebbleOptions, challenges: &'static [&'static str]) -> Option<Self> {
        if !is_installed() || !world::is_installed() {
            return None;
        }
        let AcmeNetwork { pebble, authority, http, https, dns, folder } = AcmeNetwork::start(manner).await;
        let toml = format!(
            "[acme]\ndirectory = \"https://{}/dir\"\nterms_agreed = true\nca = \"{}\"\nchallenges = {challenges:?}\n",
            authority.address,
            folder.path().join("roots.pem").display(),
        );
        let cluster = world::World::start_with(3, 1, |_, setup| {
            let setup = setup.with_domain("apps.test").with_tls("mode = \"acme\"\n").with_plain_http();
            setup.with_limit("acme_retry_ms_min", 100).with_toml(&toml).in_a_process()
        })
        .await;
        let world = Self { cluster, pebble, authority, http, https, folder, _dns: dns };
        world.open();
        Some(world)
    }

    /// Lets the authority reach all nodes in turn.
    fn open(&self) {
        self.http.open_to_all(self.cluster.nodes.iter().map(|node| node.http().unwrap()));
        self.https.open_to_all(self.cluster.nodes.iter().map(RunningEdge::https));
    }

    async fn push(&self, node: usize, hostnames: &[&str]) {
        let files: &[(&str, &[u8])] = &[("index.html", b"shop")];
        let mut manifest = manifest(files);
        manifest.base.hostnames = Some(hostnames.iter().map(|name| name.parse().unwrap()).collect());
        let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
        let pushed = self.cluster.nodes[node].try_push("shop", "prod", begin, files).await;
        pushed.unwrap_or_else(|problem| panic!("{problem:#?}"));
    }

    /// Waits until every node presents the same issued certificate for a name, different from `before`.
    async fn issued(&self, name: &str, before: Option<&PresentedCertificate>) -> PresentedCertificate {
        let mut last: Vec<PresentedCertificate> = Vec::new();
        let agree = async || {
            last.clear();
            for node in &self.cluster.nodes {
                last.push(shown(node.https(), name).await);
            }
            last.iter().all(|shown| shown.is_issued() && *shown == last[0]) && before.is_none_or(|b| *b != last[0])
        };
        let waited = tokio::time::timeout(COMES_MAX, wait_for("all nodes show one certificate", agree)).await;
        assert!(waited.is_ok(), "{name}: {last:#?}\n{}", self.pebble.log());
        last.swap_remove(0)
    }

    /// ACME records in etcd whose keys contain a text, with the values.
    fn records(&self, text: &str) -> Vec<(String, String)> {
        let stored = self.cluster.etcd.stored("devanture/records/");
        let text_of = |value: Vec<u8>| String::from_utf8(value).unwrap();
        let found = stored.into_iter().filter(|(key, _, _)| key.contains(text));
        found.map(|(key, value, _)| (key, text_of(value))).collect()
    }

    /// Index of the ordering node.
    fn on_duty(&self) -> Option<usize> {
        let (_, record) = self.records("/duties/acme-").pop()?;
        let member: serde_json::Value = serde_json::from_str(&record).unwrap();
        let named = |node: &RunningEdge| member["node"] == node.file().node.as_str();
        self.cluster.nodes.iter().position(named)
    }
}

/// Run once per challenge type. The authority validates from three vantage points, and so against three nodes.
async fn any_node_answers_and_one_orders(challenges: &'static [&'static str]) {
    let Some(world) = World::start(PebbleOptions::default(), challenges).await else { return };
    let names = [NAME, "one.customer.test", "two.customer.test"];
    world.push(1, &names[1..]).await;
    let mut serials = BTreeSet::new();
    for name in names {
        serials.insert(world.issued(name, None).await.serial);
    }
    assert_eq!((serials.len(), world.pebble.orders(), world.pebble.accounts()), (3, 3, 1), "{}", world.pebble.log());

    let records = world.records("/acme/");
    assert_eq!(records.iter().filter(|(key, _)| key.contains("/certificates/")).count(), 3, "{records:#?}");
    assert!(records.iter().all(|(_, value)| !value.contains("PRIVATE KEY")), "{records:#?}");
    wait_for("no proof is shown any more", async || world.records("/proofs/").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_answers_by_http_01_and_one_orders_for_all() {
    any_node_answers_and_one_orders(&["http-01"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_answers_by_tls_alpn_01_and_one_orders_for_all() {
    any_node_answers_and_one_orders(&["tls-alpn-01"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_node_that_orders_is_killed_in_the_middle_another_one_finishes() {
    let Some(mut world) = World::start(PebbleOptions::default(), &["http-01"]).await else { return };
    world.http.hold();
    world.push(0, &[]).await;
    wait_for("a proof is shown", async || !world.records("/proofs/").is_empty()).await;
    let killed = world.on_duty().unwrap();
    world.cluster.nodes[killed].kill();
    let gone = world.cluster.nodes.remove(killed);
    world.open();
    let first = world.issued(NAME, None).await;
    assert_eq!((world.pebble.orders(), world.pebble.accounts()), (2, 1), "the one that was given up, and another one");
    assert_ne!(world.on_duty(), None);

    // A node that starts later presents the same certificate and orders nothing.
    drop(gone);
    let endpoints = world.cluster.etcd.endpoints();
    let late =
        world.cluster.setup(3, &endpoints).with_domain("apps.test").with_plain_http().with_tls("mode = \"acme\"\n");
    let toml = format!(
        "[acme]\ndirectory = \"https://{}/dir\"\nterms_agreed = true\nca = \"{}\"\n",
        world.authority.address,
        world.folder.path().join("roots.pem").display(),
    );
    let late = late.with_toml(&toml).start().await;
    assert_eq!(shown(late.https(), NAME).await, first);
    world.cluster.nodes.push(late);
    assert_eq!(world.issued(NAME, None).await, first);
    assert_eq!(world.pebble.orders(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_is_ordered_by_one_node_and_taken_in_by_all() {
    let Some(world) =
        World::start(PebbleOptions { validity_s: 15, ..PebbleOptions::default() }, &["tls-alpn-01"]).await
    else {
        return;
    };
    world.push(2, &[]).await;
    let first = world.issued(NAME, None).await;
    let orders = world.pebble.orders();
    let renewed = world.issued(NAME, Some(&first)).await;
    assert_ne!(renewed.serial, first.serial);
    assert_eq!((world.pebble.orders(), world.pebble.accounts()), (orders + 1, 1), "{}", world.pebble.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_shown_after_a_restart_without_etcd() {
    let Some(mut world) = World::start(PebbleOptions::default(), &["tls-alpn-01"]).await else { return };
    world.push(0, &[]).await;
    let first = world.issued(NAME, None).await;
    // The mirror reaches stable storage soon after every switch, and before the answer to the next switch.
    world.push(0, &["www.customer.test"]).await;
    world.push(0, &["www.customer.test", "one.customer.test"]).await;
    world.cluster.etcd.kill(0);
    let node = world.cluster.nodes.remove(0).killed_and_started().await;
    assert_eq!(shown(node.https(), NAME).await, first);
    world.cluster.etcd.restart(0);
    world.cluster.nodes.push(node);
    world.open();
    world.issued("www.customer.test", None).await;
    assert_eq!(world.issued(NAME, None).await, first);
}
