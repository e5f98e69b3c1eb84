//! A hostile ACME authority: its answers are refused and reported, orders are retried, and visitors are not affected.

use std::path::PathBuf;
use std::time::Duration;

use devanture_config::api::BeginDeploy;
use serde_json::Value;

use crate::acme::fake::{Fake, FakeBehavior, ISSUER};
use crate::acme::pebble::write_certificate;
use crate::acme::tls::shown;
use crate::acme::world::wait_for;
use crate::support::{RunningEdge, edge, manifest};

/// Longest wait that an authority can impose.
const WAIT_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// Longest wait for a line of the edge's log.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of the log for one failure.
const LOG_BYTES_MAX: usize = 4_096;

/// Edge, fake authority, and the folder of the authority's files.
struct World {
    edge: RunningEdge,
    authority: Fake,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        let authority = Fake::start(folder.path()).await;
        let toml = format!(
            "[acme]\ndirectory = \"https://{}/dir\"\nterms_agreed = true\nca = {:?}\nchallenges = [\"http-01\"]\n",
            authority.address,
            folder.path().join("roots.pem"),
        );
        let setup = edge().in_a_process().with_domain("apps.test").with_tls("mode = \"acme\"\n").with_plain_http();
        // The next round retries failed orders, without a limit.
        let edge = setup
            .with_limit("acme_retry_ms_min", 100)
            .with_limit("acme_retry_ms_max", 100)
            .with_limit("acme_orders_per_hour_max", 10_000)
            .with_limit("acme_orders_per_hour_per_app_max", 10_000)
            .with_toml(&toml)
            .start()
            .await;
        Self { edge, authority, _folder: folder }
    }

    async fn push(&self) {
        let files: &[(&str, &[u8])] = &[("index.html", b"shop")];
        let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
        self.edge.try_push("shop", "prod", begin, files).await.unwrap_or_else(|problem| panic!("{problem:#?}"));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.edge.data_dir().with_file_name("edge.log")).unwrap()
    }

    /// Waits for a log line with `words`, from byte `from` on.
    async fn reported(&self, from: usize, words: &str) -> String {
        let mut found = None;
        let what = format!("the edge reports \"{words}\"");
        let reported = wait_for(&what, async || {
            found = self.log()[from..].lines().find(|line| line.contains(words)).map(ToOwned::to_owned);
            found.is_some()
        });
        if tokio::time::timeout(PATIENCE, reported).await.is_err() {
            panic!("not reported: {words}\n{}", &self.log()[from..]);
        }
        found.unwrap()
    }

    /// Order records.
    fn books(&self) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(self.edge.data_dir().join("tls/acme")).unwrap();
        folders.map(|folder| folder.unwrap().path().join("orders.json")).collect()
    }
}

/// All waits in an order record.
fn waits_ms(record: &Value) -> Vec<u64> {
    match record {
        Value::Object(fields) => {
            let own = fields.get("wait_ms").and_then(Value::as_u64);
            own.into_iter().chain(fields.values().flat_map(waits_ms)).collect()
        }
        Value::Array(items) => items.iter().flat_map(waits_ms).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_answers_anything_is_reported_and_ends_nothing() {
    let world = World::start().await;
    #[rustfmt::skip]
    let tricks = [
        (FakeBehavior::Garbage,                           "expected value"),
        (FakeBehavior::EndlessBody,                       "length limit exceeded"),
        (FakeBehavior::EndlessHead,                       "message head is too large"),
        (FakeBehavior::Redirects,                         "EOF while parsing"),
        (FakeBehavior::NewNonce("no address"),            "directory is not an HTTPS address"),
        (FakeBehavior::NewNonce("http://127.0.0.1/n"),    "directory is not an HTTPS address"),
        (FakeBehavior::NewNonce("https://127.0.0.1:1/n"), "refused"),
        (FakeBehavior::LongProblem,                       "no no no"),
        (FakeBehavior::Token("../../../etc/passwd"),      "token is not base64url"),
        (FakeBehavior::Token("<script>alert(1)</script>"), "token is not base64url"),
        (FakeBehavior::Token(""),                         "token is not base64url"),
        (FakeBehavior::Authorizations(20_000),            "20000 authorizations"),
        (FakeBehavior::AnotherAuthorization,              "for another name"),
        (FakeBehavior::Wait("1000000000000"),             "timed out"),
        (FakeBehavior::Wait("18446744073709551615"),      "timed out"),
        (FakeBehavior::Names(&["www.example.org"]),       "it is for www.example.org"),
        (FakeBehavior::Names(&["shop.apps.test", "www.example.org"]), "not of one name"),
        (FakeBehavior::AnotherKey,                        "does not belong to"),
        (FakeBehavior::BrokenChain,                       "UnknownIssuer"),
        (FakeBehavior::GarbledChain,                      "certificate 3 of its chain"),
        (FakeBehavior::LongChain,                         "clients take no more than"),
    ];
    world.authority.set(tricks[0].0);
    world.push().await;
    for (trick, words) in tricks {
        world.authority.set(trick);
        let line = world.reported(world.log().len(), words).await;
        assert!(line.len() < LOG_BYTES_MAX, "{trick:?} writes {} bytes", line.len());
        assert!(line.contains("shop.apps.test"), "{line}");
        assert_eq!(world.edge.get("shop.apps.test", "/").await.text(), "shop", "{trick:?}");
        assert!(shown(world.edge.https(), "shop.apps.test").await.is_local(), "{trick:?}");
    }
    world.authority.set(FakeBehavior::None);
    wait_for("a certificate is issued", async || {
        shown(world.edge.https(), "shop.apps.test").await.issuer.contains(ISSUER)
    })
    .await;
    let log = world.log();
    assert!(!log.contains("panicked") && !log.contains("ended by itself"), "{log}");
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_takes_its_time_takes_none_of_anybody_else() {
    for trick in [FakeBehavior::Drip, FakeBehavior::EndlessInterim] {
        let world = World::start().await;
        world.authority.set(trick);
        world.push().await;
        world.reported(0, "a certificate is ordered").await;
        for _ in 0..20 {
            assert_eq!(world.edge.get("shop.apps.test", "/").await.text(), "shop", "{trick:?}");
        }
        // The stop does not wait for the pending answer.
        let before = std::time::Instant::now();
        world.edge.stop().await;
        assert!(before.elapsed() < Duration::from_secs(25), "{trick:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_not_left_alone_for_ever() {
    for wait in ["1000000000000", "18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        let world = World::start().await;
        world.authority.set(FakeBehavior::LeaveAlone(wait));
        world.push().await;
        world.reported(0, "wants to be left alone").await;
        let mut waits = Vec::new();
        wait_for("it is noted", async || {
            let books = world.books().into_iter().filter_map(|path| std::fs::read(path).ok());
            waits = books.flat_map(|text| waits_ms(&serde_json::from_slice(&text).unwrap())).collect();
            waits.iter().any(|wait| *wait > 100)
        })
        .await;
        assert!(waits.iter().all(|wait| *wait <= WAIT_MS_MAX), "{wait}: {waits:?}");
        world.edge.stop().await;
    }
}
