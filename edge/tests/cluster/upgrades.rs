//! Rolling upgrade and downgrade of nodes, while all nodes serve visitors and accept pushes.
//!
//! `DEVANTURE_PREVIOUS_EDGE` names the program of an earlier build: nodes start with the earlier program, upgrade to
//! the program built with the tests, and downgrade again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use devanture_config::VersionId;
use devanture_config::api::{BeginDeploy, History, Outcome};
use http::Method;
use tokio::task::JoinHandle;

use super::world::{Visitors, World, borrowed, comes, is_installed, nodes, push, site};
use crate::support::{RunningEdge, got, manifest};

/// Pause between two pushes.
const PAUSE: Duration = Duration::from_millis(20);
/// Maximum number of retries of a push during a handover, as in the command line.
const TRIES_MAX: usize = 500;

/// Repeated pushes by one node to a separate app, until stopped.
struct Pusher {
    app: String,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Pushed>,
}

/// Results of the pushes by one node.
#[derive(Default)]
struct Pushed {
    /// Versions of successful pushes.
    answered: BTreeSet<VersionId>,
    last: Option<VersionId>,
    /// Number of retries by error code.
    again: BTreeMap<String, usize>,
}

impl Pusher {
    fn begin(node: &RunningEdge, index: usize) -> Self {
        let (app, stop, node) = (format!("pushed-{index}"), Arc::new(AtomicBool::new(false)), node.handle());
        let (to, is_over) = (app.clone(), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let mut pushed = Pushed::default();
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                number += 1;
                let version = pushed_at_last(&node, &to, number, &mut pushed.again).await;
                pushed.answered.insert(version);
                pushed.last = Some(version);
                tokio::time::sleep(PAUSE).await;
            }
            pushed
        });
        Self { app, stop, task }
    }

    /// Stops pushing and checks: successful pushes are in the history, and the last version is live on every node.
    async fn stop(self, world: &World) -> Pushed {
        self.stop.store(true, Ordering::Relaxed);
        let pushed = self.task.await.unwrap();
        let history = versions_in_history(&world.nodes[0], &self.app).await;
        let lost: Vec<_> = pushed.answered.difference(&history).collect();
        assert!(lost.is_empty(), "pushes that were answered are lost: {lost:?}");
        for node in &world.nodes {
            assert_eq!(node.live(&self.app).await, pushed.last, "{}", self.app);
        }
        pushed
    }
}

/// Pushes until success: during a handover, a node refuses changes with a retryable error.
async fn pushed_at_last(
    node: &RunningEdge,
    app: &str,
    number: usize,
    again: &mut BTreeMap<String, usize>,
) -> VersionId {
    let files = site(number);
    for _ in 0..TRIES_MAX {
        let begin = BeginDeploy {
            manifest: manifest(&borrowed(&files)),
            source: Default::default(),
            options: Default::default(),
        };
        match node.try_push(app, "prod", begin, &borrowed(&files)).await {
            Ok(report) => return report.version,
            Err(problem) => {
                let code = problem.code.as_str().to_owned();
                // Earlier builds forward the error of an ending node as `internal`.
                let is_passed_on = previous().is_some() && code == "internal";
                assert!(code == "restarting" || is_passed_on, "push {number} to {app}: {problem:#?}");
                *again.entry(code).or_default() += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    panic!("push {number} to {app} is never taken: {again:?}");
}

/// Versions in the history of an app.
async fn versions_in_history(node: &RunningEdge, app: &str) -> BTreeSet<VersionId> {
    let (mut versions, mut before) = (BTreeSet::new(), String::new());
    loop {
        let path = format!("/v1/apps/{app}/environments/prod/history?limit=100{before}");
        let page: History = got(node.api(Method::GET, &path)).await.json();
        let went_live = page.deploys.iter().filter(|deploy| deploy.outcome == Outcome::Live);
        versions.extend(went_live.map(|deploy| deploy.version));
        match page.next {
            Some(next) => before = format!("&before={next}"),
            None => return versions,
        }
    }
}

/// Program for the start and for the downgrade.
fn previous() -> Option<PathBuf> {
    std::env::var_os("DEVANTURE_PREVIOUS_EDGE").map(PathBuf::from)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_upgraded_one_after_the_other_and_taken_back_lose_no_request_and_no_push() {
    if !is_installed() {
        return;
    }
    let mut world = World::start_with(3, 1, |_, setup| match previous() {
        Some(program) => setup.with_program(&program),
        None => setup,
    })
    .await;
    push(&world.nodes[0], 0).await;
    let visitors = Visitors::of(&world.nodes.iter().collect::<Vec<_>>());
    let pushers: Vec<_> = world.nodes.iter().enumerate().map(|(index, node)| Pusher::begin(node, index)).collect();
    let began = Instant::now();
    // To the program of the tests, and back.
    for program in [None, previous()] {
        for index in 0..3 {
            let node = world.nodes.remove(index);
            let name = node.file().node.clone();
            let started_ms = started_ms(&node, &name).await;
            let (version, next) = (world.nodes[0].live("pushed-0").await, node.taken_over_by(program.clone()).await);
            world.nodes.insert(index, next);
            world.is_complete(3).await;
            for node in &world.nodes {
                comes("the others know the new process", async || self::started_ms(node, &name).await > started_ms)
                    .await;
            }
            comes("pushes go on", async || world.nodes[index].live("pushed-0").await != version).await;
        }
    }
    let (mut answered, mut again) = (0, 0);
    for pusher in pushers {
        let pushed = pusher.stop(&world).await;
        answered += pushed.answered.len();
        again += pushed.again.values().sum::<usize>();
    }
    eprintln!("{answered} pushes, {again} of them begun again, during six upgrades within {:?}", began.elapsed());
    visitors.stop().await;
}

/// Start time of a node's process, as another node reports the time.
async fn started_ms(by: &RunningEdge, name: &str) -> Option<u64> {
    nodes(by).await.into_iter().find(|node| node.name == name).map(|node| node.started_ms)
}
