//! Tests of the deploy list and of followers: each deploy once, newest first, and each of its steps.

use std::task::Poll;

use devanture_config::PlaceName;
use devanture_config::api::{DeployEvent, DeployList, DeployState, Step, StepState};
use devanture_config::problem::{Code, Problem};
use futures_util::poll;

use super::collections::world::{World, manifest, name, world};
use crate::cluster::{EnvironmentQuery, QuerySubject};
use crate::ledger::Page;
use crate::publish::DeployFollower;
use crate::publish::deploy_list::report_here;
use crate::switch::{Origin, Watched};

/// Id of a deploy begun at the given time.
fn id_of(started_ms: u64) -> String {
    format!("{:x}", started_ms * 1_000)
}

/// Opens a deploy with the id, before its steps.
fn open(world: &World, id: &str, files: Option<u8>) -> Watched {
    let version = files.map(|number| manifest(&[number].into()).id());
    world.publisher.deploys.open(id, &name(0), &PlaceName::prod(), (version, Origin::default()), 1)
}

fn failure() -> Problem {
    Problem::new(Code::BadArchive, "It is cut short.")
}

fn fail(world: &World, id: &str, files: Option<u8>) {
    open(world, id, files).ended(&Err(failure().into()));
}

async fn list(world: &World, limit: usize, after: Option<String>) -> DeployList {
    let page = Page { limit, after, cursor: "before" };
    world.publisher.deploys(&name(0), &PlaceName::prod(), &page).await.unwrap()
}

fn ids(list: &DeployList) -> Vec<&str> {
    list.deploys.iter().map(|entry| entry.deploy.as_str()).collect()
}

fn step(name: &str, state: StepState) -> Step {
    Step { name: name.to_owned(), state, detail: String::new(), ms: 0 }
}

/// Returns the remaining events of a follower.
async fn rest(mut follower: DeployFollower) -> Vec<DeployEvent> {
    let mut events = Vec::new();
    while let Some(event) = follower.next().await {
        events.push(event);
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_deploys_that_no_history_has_a_node_reports_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    for started_ms in 1..=150 {
        fail(&world, &id_of(started_ms), None);
    }
    let query = EnvironmentQuery { app: name(0), environment: PlaceName::prod(), subject: QuerySubject::Deploys };
    let found = report_here(&query, &world.publisher.deploys, &world.publisher.uploads).deploys;
    let started: Vec<u64> = found.iter().map(|entry| entry.started_ms).collect();
    assert_eq!(started, (51..=150).rev().collect::<Vec<u64>>());
}

/// During the watch of a switch, its deploy is running and already recorded in the history.
#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_is_under_way_and_in_the_history_is_listed_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let id = world.push(&name(0), &[1].into()).await.unwrap().deploy.unwrap();
    open(&world, &id, Some(1));
    let list = list(&world, 9, None).await;
    assert_eq!(ids(&list), [id]);
    assert_eq!(list.deploys[0].state, DeployState::Live);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_history_has_is_on_the_first_page_alone() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let app = name(0);
    let older = world.push(&app, &[1].into()).await.unwrap().deploy.unwrap();
    let newer = world.push(&app, &[2].into()).await.unwrap().deploy.unwrap();
    let begun = world.begin(&app, &[3].into()).await.unwrap();
    let first = list(&world, 1, None).await;
    assert_eq!(ids(&first), [begun.as_str(), newer.as_str()]);
    assert_eq!(first.deploys[0].state, DeployState::Begun);
    assert!(first.next.is_some());
    assert_eq!(ids(&list(&world, 1, first.next).await), [older]);
}

/// Law 11: earlier, the name had another owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_listed_if_its_app_was_there_already_and_no_history_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let live = world.push(&name(0), &[1].into()).await.unwrap().deploy.unwrap();
    let made_ms = world.publisher.ledger.app_made_ms(&name(0)).await.unwrap();
    let first = id_of(made_ms);
    fail(&world, &id_of(made_ms - 1), None);
    fail(&world, &first, None);
    // Failures with a version are in the history.
    fail(&world, &id_of(made_ms + 1), Some(2));
    assert_eq!(ids(&list(&world, 9, None).await), [first, live]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_reports_each_step_as_it_is_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let id = id_of(1);
    let watched = open(&world, &id, Some(1));
    watched.step(&step("verify", StepState::Started));
    let mut follower = world.publisher.follow_deploy(&name(0), &id);
    // Available events are returned at once.
    let first = poll!(Box::pin(follower.next()));
    assert_eq!(first, Poll::Ready(Some(DeployEvent::Step(step("verify", StepState::Started)))));
    watched.step(&step("verify", StepState::Done));
    watched.step(&step("compress", StepState::Started));
    watched.ended(&Err(failure().into()));
    let expected = [
        DeployEvent::Step(step("verify", StepState::Done)),
        DeployEvent::Step(step("compress", StepState::Started)),
        DeployEvent::Problem(Box::new(failure())),
    ];
    assert_eq!(rest(follower).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_a_deploy_that_only_the_history_has_reports_its_steps() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let report = world.push(&name(0), &[1].into()).await.unwrap();
    let id = report.deploy.unwrap();
    // As after a restart.
    world.publisher.deploys.forget_ended();
    let events = rest(world.publisher.follow_deploy(&name(0), &id)).await;
    let names: Vec<&str> = events
        .iter()
        .map(|event| match event {
            DeployEvent::Step(step) => step.name.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, report.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>());
    assert!(names.contains(&"switch"));
    for (app, unknown) in [(name(0), id_of(1)), (name(1), id)] {
        assert_eq!(rest(world.publisher.follow_deploy(&app, &unknown)).await, [], "{app} {unknown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_a_push_under_way_waits_for_its_steps() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let app = name(0);
    let id = world.begin(&app, &[1].into()).await.unwrap();
    let mut follower = world.publisher.follow_deploy(&app, &id);
    assert!(poll!(Box::pin(follower.next())).is_pending());
    let (events, finished) = tokio::join!(rest(follower), world.finish(&app, &id));
    let report = finished.unwrap();
    assert_eq!(events.last(), Some(&DeployEvent::Done(Box::new(report))));
}
