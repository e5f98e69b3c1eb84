//! Five hundred switches of front and backend under load: every answer is 200 and matches its named version.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::time::sleep;

use crate::support::edge::edge;
use crate::support::managed::Project;
use crate::support::{VISITOR_PAUSE, rounds};

const SWITCHES: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_during_five_hundred_switches_is_of_the_version_that_it_names() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "blue", "instances = 2");
    let mut versions = Vec::new();
    for name in ["blue", "green"] {
        project.front(name);
        project.backend(name);
        versions.push(project.push(&edge));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let mut clients = Vec::new();
    for number in 0..4 {
        let client = edge.client(number % 2 == 0);
        let urls = ["/", "/api/who"].map(|path| edge.url("game.localhost", path));
        let (stop, seen, versions) = (Arc::clone(&stop), Arc::clone(&seen), versions.clone());
        clients.push(tokio::spawn(async move {
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let url = &urls[turn % 2];
                let request = if turn % 4 == 3 { client.post(url).body("order") } else { client.get(url) };
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
                let named = answer.headers()["devanture-version"].to_str().unwrap().to_owned();
                let text = answer.text().await.unwrap();
                let index = versions.iter().position(|version| version.starts_with(&named)).unwrap();
                let name = ["blue", "green"][index];
                assert!(text.contains(name), "{named} is {name}, and answered {text}");
                seen[index].fetch_add(1, Ordering::Relaxed);
                if turn % 4 == 3 {
                    sleep(VISITOR_PAUSE).await;
                }
            }
        }));
    }
    for turn in 0..rounds(SWITCHES) {
        let wanted = json!({ "version": versions[turn % 2] });
        let (status, answer) = edge.api("POST", "/v1/apps/game/environments/prod/switch", Some(wanted)).await;
        assert_eq!(status, 200, "{answer}");
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    for count in &*seen {
        assert!(count.load(Ordering::Relaxed) > 0);
    }
}
