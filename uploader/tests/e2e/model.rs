//! Random pushes, switches, rollbacks, promotions and deletions by several clients, with kills and takeovers of the
//! edge: the state of the edge is compared with the answers to the clients.
//!
//! The model is the history: one chain of switches per environment, in which each acknowledged change occurs once, in
//! an order consistent with the clients' observations, plus only changes with a lost answer. `MODEL_SEED=N` repeats the
//! choices of a run, but not the timing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::edge::{Edge, edge};
use crate::support::rounds;

/// Lives of the edge, each ended by a kill or a takeover.
const LIVES: usize = 20;
/// Concurrent clients.
const CLIENTS: u64 = 4;
const ENVIRONMENTS: [&str; 3] = ["prod", "staging", "qa"];
/// Kinds of history entries that change the live version.
const SWITCHING: [&str; 4] = ["push", "switch", "rollback", "promote"];

/// A generator of choices (splitmix64).
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count).unwrap()).unwrap()
    }

    fn of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }
}

/// Outcome of a request.
enum Outcome {
    Acknowledged(Value),
    /// Refused without a change.
    Refused,
    /// The connection ended before the answer.
    Lost,
}

/// One change of an environment, with its earliest and latest moment, counted by all clients together.
struct Change {
    environment: &'static str,
    began: u64,
    ended: u64,
    outcome: Outcome,
}

/// The shared knowledge of all clients.
#[derive(Default)]
struct Known {
    clock: AtomicU64,
    pages: AtomicU64,
    changes: Mutex<Vec<Change>>,
    /// The page of each acknowledged version.
    versions: Mutex<BTreeMap<String, String>>,
    /// Versions with an acknowledged deletion, or a lost answer to a deletion.
    deleted: Mutex<BTreeSet<String>>,
    perhaps_deleted: Mutex<BTreeSet<String>>,
}

/// A client of one life of the edge.
struct Client {
    http: reqwest::Client,
    api: String,
    token: String,
    known: Arc<Known>,
    choices: Choices,
}

impl Client {
    async fn call(&self, method: &str, path: &str, body: impl Into<reqwest::Body>, media_type: &str) -> Outcome {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.api));
        let answer = request.bearer_auth(&self.token).header("content-type", media_type).body(body).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Outcome::Refused,
            Err(_) => return Outcome::Lost,
        };
        let status = answer.status();
        let Ok(text) = answer.text().await else { return Outcome::Lost };
        assert!(status != 500, "{method} {path}: {text}");
        if status.is_success() {
            Outcome::Acknowledged(serde_json::from_str(&text).unwrap_or(Value::Null))
        } else {
            Outcome::Refused
        }
    }

    /// Changes an environment, and records the outcome.
    async fn change(
        &mut self,
        environment: &'static str,
        what: &str,
        body: Vec<u8>,
        media_type: &str,
    ) -> Option<Value> {
        let began = self.known.clock.fetch_add(1, Ordering::SeqCst);
        let path = format!("/v1/apps/shop/environments/{environment}/{what}");
        let outcome = self.call("POST", &path, body, media_type).await;
        let ended = self.known.clock.fetch_add(1, Ordering::SeqCst);
        let report = match &outcome {
            Outcome::Acknowledged(report) => Some(report.clone()),
            Outcome::Refused | Outcome::Lost => None,
        };
        self.known.changes.lock().unwrap().push(Change { environment, began, ended, outcome });
        report
    }

    async fn push(&mut self, environment: &'static str) {
        let page = format!("page {}", self.known.pages.fetch_add(1, Ordering::Relaxed));
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(page.len().try_into().unwrap());
        header.set_mode(0o644);
        archive.append_data(&mut header, "index.html", page.as_bytes()).unwrap();
        let body = archive.into_inner().unwrap();
        if let Some(report) = self.change(environment, "deploys", body, "application/x-tar").await {
            let version = report["version"].as_str().unwrap().to_owned();
            self.known.versions.lock().unwrap().insert(version, page);
        }
    }

    /// Makes one random change.
    async fn act(&mut self) {
        let environment = self.choices.of(&ENVIRONMENTS);
        let versions: Vec<String> = self.known.versions.lock().unwrap().keys().cloned().collect();
        let json = "application/json";
        match self.choices.below(10) {
            _ if versions.is_empty() => self.push(environment).await,
            0..=2 => self.push(environment).await,
            3..=5 => {
                let wanted = json!({ "version": self.choices.of(&versions) }).to_string();
                self.change(environment, "switch", wanted.into_bytes(), json).await;
            }
            6..=7 => {
                self.change(environment, "rollback", b"{}".to_vec(), json).await;
            }
            8 => {
                let wanted = json!({ "from": self.choices.of(&ENVIRONMENTS) }).to_string();
                self.change(environment, "promote", wanted.into_bytes(), json).await;
            }
            _ => {
                let version = self.choices.of(&versions);
                match self.call("DELETE", &format!("/v1/apps/shop/versions/{version}"), "", json).await {
                    Outcome::Acknowledged(_) => drop(self.known.deleted.lock().unwrap().insert(version)),
                    Outcome::Lost => drop(self.known.perhaps_deleted.lock().unwrap().insert(version)),
                    Outcome::Refused => {}
                }
            }
        }
    }
}

/// Returns the entries of an environment's history that changed the live version, oldest first.
async fn switches(edge: &Edge, environment: &str) -> Vec<Value> {
    let path = format!("/v1/apps/shop/environments/{environment}/history?limit=100");
    let (mut entries, mut before) = (Vec::new(), String::new());
    loop {
        let (status, page) = edge.api("GET", &format!("{path}{before}"), None).await;
        if status == 404 {
            return entries;
        }
        assert_eq!(status, 200, "{page}");
        entries.extend(page["deploys"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    entries.retain(|entry| entry["outcome"] == "live" && SWITCHING.contains(&entry["kind"].as_str().unwrap()));
    entries.reverse();
    entries
}

/// Compares the state of an environment with the answers to the clients.
async fn check(edge: &Edge, known: &Known, environment: &str) {
    let entries = switches(edge, environment).await;
    for pair in entries.windows(2) {
        assert_eq!(pair[1]["previous"], pair[0]["version"], "each switch follows the one before: {pair:#?}");
    }
    let mut acknowledged = Vec::new();
    let mut lost = 0;
    for change in known.changes.lock().unwrap().iter().filter(|change| change.environment == environment) {
        match &change.outcome {
            Outcome::Acknowledged(report) if report["switched"] == true => {
                let found: Vec<_> = (0..entries.len()).filter(|at| entries[*at]["id"] == report["deploy"]).collect();
                assert_eq!(found.len(), 1, "what was acknowledged is in the history once: {report}");
                assert_eq!(entries[found[0]]["version"], report["version"]);
                acknowledged.push((found[0], change.began, change.ended));
            }
            Outcome::Lost => lost += 1,
            Outcome::Acknowledged(_) | Outcome::Refused => {}
        }
    }
    acknowledged.sort_unstable();
    let mut latest_began = 0;
    for (at, began, ended) in &acknowledged {
        assert!(*ended > latest_began, "one that ended before another began comes first: {:#?}", entries[*at]);
        latest_began = latest_began.max(*began);
    }
    let others = entries.len() - acknowledged.len();
    assert!(others <= lost, "{others} changes of {environment} that nobody requested; {lost} answers were lost");
    let Some(last) = entries.last() else { return };
    let live = last["version"].as_str().unwrap();
    let (_, status) = edge.api("GET", &format!("/v1/apps/shop/environments/{environment}"), None).await;
    assert_eq!(status["version"], live, "{status}");
    assert!(!known.deleted.lock().unwrap().contains(live), "a deleted version is live: {live}");
    let host =
        if environment == "prod" { "shop.localhost".to_owned() } else { format!("{environment}--shop.localhost") };
    let answer = edge.client(true).get(edge.url(&host, "/")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{host}");
    let page = answer.text().await.unwrap();
    // The page of an unacknowledged push is recorded here, and must stay.
    let expected = known.versions.lock().unwrap().entry(live.to_owned()).or_insert_with(|| page.clone()).clone();
    assert_eq!(page, expected, "{host} has the page of its version");
}

/// Checks that each acknowledged and undeleted version has its page under its own hostname.
async fn check_versions(edge: &Edge, known: &Known) {
    let gone: BTreeSet<String> =
        known.deleted.lock().unwrap().union(&known.perhaps_deleted.lock().unwrap()).cloned().collect();
    let versions = known.versions.lock().unwrap().clone();
    let client = edge.client(true);
    for (version, page) in versions.iter().filter(|(version, _)| !gone.contains(*version)) {
        let host = format!("{}--shop.localhost", &version[..12]);
        let answer = client.get(edge.url(&host, "/")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, page.clone()), "{version}");
    }
}

/// One life of the edge: clients act until its end.
async fn live(edge: &mut Edge, known: &Arc<Known>, choices: &mut Choices) {
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (http, api) = (edge.client(true), format!("https://{}", edge.admin()));
            let (token, known, choices) = (edge.token.clone(), Arc::clone(known), Choices(choices.next()));
            let (mut client, stop) = (Client { http, api, token, known, choices }, Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client.act().await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50 + choices.next() % 400)).await;
    if choices.below(4) == 0 {
        tokio::task::block_in_place(|| edge.take_over());
        stop.store(true, Ordering::Relaxed);
    } else {
        stop.store(true, Ordering::Relaxed);
        tokio::task::block_in_place(|| edge.kill());
    }
    for client in clients {
        client.await.unwrap();
    }
    if !edge.is_running() {
        edge.restart();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_end_the_history_is_what_clients_were_answered() {
    let seed = std::env::var("MODEL_SEED").map_or_else(
        |_| u64::from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()),
        |seed| seed.parse().unwrap(),
    );
    eprintln!("MODEL_SEED={seed}");
    let mut choices = Choices(seed);
    let known = Arc::new(Known::default());
    let mut edge = edge().start();
    let acknowledged = || {
        let changes = known.changes.lock().unwrap();
        changes.iter().filter(|change| matches!(change.outcome, Outcome::Acknowledged(_))).count()
    };
    // On a busy machine a life may end before any acknowledgement.
    for number in 0..LIVES {
        if number >= rounds(LIVES) && acknowledged() > 0 {
            break;
        }
        live(&mut edge, &known, &mut choices).await;
        for environment in ENVIRONMENTS {
            check(&edge, &known, environment).await;
        }
    }
    check_versions(&edge, &known).await;
    let lost = known.changes.lock().unwrap().iter().filter(|change| matches!(change.outcome, Outcome::Lost)).count();
    eprintln!("{} acknowledged, {lost} lost", acknowledged());
    assert!(acknowledged() > 0);
}
