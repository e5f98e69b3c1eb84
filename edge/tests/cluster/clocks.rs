//! Nodes with wrong clocks: no data is lost, no record expires early, and all nodes agree on the live version.

use devanture_config::VersionId;
use devanture_config::api::{History, Scope, Status};
use http::{Method, StatusCode};
use serde_json::json;

use super::world::{APP, Visitors, World, finish, is_installed, nodes, push, try_push, uploaded};
use crate::support::{RunningEdge, clock, got};

/// Offsets of the nodes' clocks; an S3 store accepts requests up to a quarter of an hour off.
const CLOCKS: [&str; 3] = ["+0", "+10m", "-10m"];

async fn history(node: &RunningEdge) -> Vec<VersionId> {
    let list = got(node.api(Method::GET, &format!("/v1/apps/{APP}/environments/prod/history"))).await;
    list.json::<History>().deploys.iter().map(|deploy| deploy.version).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_whose_clocks_are_twenty_minutes_apart_lose_nothing_and_agree() {
    let Some(library) = clock::library().filter(|_| is_installed()) else { return };
    let world = World::start_with(3, 1, |index, setup| {
        clock::preloaded(setup, &library).with_variable("FAKETIME", CLOCKS[index])
    })
    .await;
    let [right, ahead, behind] = [&world.nodes[0], &world.nodes[1], &world.nodes[2]];
    let all = [right, ahead, behind];
    let first = push(right, 0).await.version;
    let visitors = Visitors::of(&all);

    // Pushes in commit order.
    let mut pushed = vec![first];
    for number in 1..=4 {
        pushed.push(push(all[number % 3], number).await.version);
    }
    world.agrees_on(*pushed.last().unwrap()).await;
    pushed.reverse();
    for node in all {
        assert_eq!(history(node).await, pushed, "the history is in the order of the catalog");
    }

    // Rollback by the node whose clock is ahead, and switch forward by the node behind.
    let place = format!("/v1/apps/{APP}/environments/prod");
    let back = got(ahead.api(Method::POST, &format!("{place}/rollback")).json(&json!({}))).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.text());
    world.agrees_on(pushed[1]).await;
    let wanted = json!({ "version": pushed[0].to_string() });
    let on = got(behind.api(Method::POST, &format!("{place}/switch")).json(&wanted)).await;
    assert_eq!(on.status, StatusCode::OK, "{}", on.text());
    world.agrees_on(pushed[0]).await;

    // Files of a push by the node behind survive collections by other nodes.
    let begun = uploaded(behind, 9).await;
    for node in [ahead, right] {
        let collected = got(node.api(Method::POST, "/v1/gc?purge=true&force=true")).await;
        assert_eq!(collected.status, StatusCode::OK, "{}", collected.text());
    }
    let finished = got(finish(behind, &begun.deploy, behind.admin_token())).await;
    assert_eq!(finished.status, StatusCode::OK, "{}", finished.text());
    world.agrees_on(begun.version).await;
    visitors.stop().await;

    // Tokens valid for a day, created on any node for all nodes.
    for maker in all {
        let token = json!({ "name": "ci", "scope": Scope::Read, "expires_in_s": 86_400 });
        let made = got(maker.api(Method::POST, "/v1/tokens").json(&token)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        let token = made.json::<serde_json::Value>()["token"].as_str().unwrap().to_owned();
        for node in all {
            let status = got(node.ask(Method::GET, &place, &token)).await;
            assert_eq!(status.json::<Status>().version, Some(begun.version));
        }
    }
    for node in all {
        assert_eq!(nodes(node).await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_an_hour_off_holds_up_pushes_until_it_is_stopped_and_nothing_else() {
    let Some(library) = clock::library().filter(|_| is_installed()) else { return };
    let clock_of = |index: usize| if index == 1 { "+1h" } else { "+0" };
    let mut world = World::start_with(2, 1, |index, setup| {
        clock::preloaded(setup, &library).with_variable("FAKETIME", clock_of(index))
    })
    .await;
    // The store refuses the requests of the second node.
    for number in 1..=2 {
        assert_eq!(try_push(&world.nodes[0], number).await.unwrap_err(), "store_unavailable");
        assert_eq!(world.nodes[0].live(APP).await, None);
    }
    assert_eq!(nodes(&world.nodes[0]).await.len(), 2, "its lease lives, whatever its clock says");
    world.nodes.remove(1).stop().await;
    let version = push(&world.nodes[0], 1).await.version;
    world.agrees_on(version).await;
}
