//! Schedules in a cluster: each time runs once, and a run ends with the node.

use devanture_config::api::RunOutcome;
use serde_json::{Value, json};

use super::world::{World, comes, is_installed};
use crate::schedules::world::{backend, begin, lines, list, push, ran_for, script, status};
use crate::support::clock::Clock;

const HOUR_S: u64 = 3_600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_runs_once_in_a_cluster_and_the_run_of_a_node_that_dies_is_interrupted() {
    let Some(clock) = Clock::new().filter(|_| is_installed()) else { return };
    // The object store would refuse requests signed on another day: the clock is right until all files are stored.
    let hour = Clock::hour_far_from_now();
    let mut world = World::start_with(3, 1, |_, setup| clock.on(setup.with_runner())).await;
    let names: Vec<String> = (0..6).map(|number| format!("digest-{number}")).collect();
    let mut schedules: serde_json::Map<String, Value> =
        names.iter().map(|name| (name.clone(), script(&format!("0 {hour} * * *"), "echo ran"))).collect();
    schedules.insert("long".to_owned(), script("0 0 29 feb *", "sleep 1000000"));
    push(&world.nodes[0], &backend("one", &json!(schedules))).await;
    for node in &world.nodes {
        comes("a node knows the schedules", async || list(node).await.schedules.len() == 7).await;
    }
    for day in [1, 2] {
        let due_ms = clock.set_to(day, hour * HOUR_S + 5) + hour * HOUR_S * 1_000;
        for name in &names {
            ran_for(&world.nodes[0], name, due_ms).await;
        }
    }
    for name in &names {
        assert_eq!(lines(&world.nodes[0], name).await, ["ran"; 2], "{name}");
    }

    // Runs never overlap, whichever node is asked; after the loss of the node, another node runs the command.
    begin(&world.nodes[2], "long").await;
    comes("the others know", async || !status(&world.nodes[0], "long").await.running.is_empty()).await;
    assert_eq!(crate::schedules::world::request(&world.nodes[0], "long").await.code().as_str(), "busy");
    world.nodes[2].kill();
    let is_interrupted =
        async || status(&world.nodes[0], "long").await.last.is_some_and(|last| last.outcome == RunOutcome::Interrupted);
    comes("the run of the node that died is interrupted", is_interrupted).await;
    begin(&world.nodes[0], "long").await;
}
