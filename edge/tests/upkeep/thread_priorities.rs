//! The priorities of the threads of a real process: visitors come first.

use http::Method;

use crate::support::{edge, eventually, got};

#[tokio::test]
async fn threads_that_store_compress_and_answer_the_api_have_less_priority_than_those_that_serve() {
    let edge = edge().in_a_process().start().await;
    let text = "a line that is compressed\n".repeat(200);
    edge.push("shop", &[("index.html", b"<!doctype html><title>Shop</title>"), ("app.js", text.as_bytes())]).await;
    let own = rustix::process::getpriority_process(None).unwrap();
    let nice_of = |name: &str| match name {
        // Those for tasks start the spawner, and instances have the priority of that.
        _ if name.starts_with("serve-") || name == "control" => Some(own),
        "admin" => Some(own.max(10)),
        "admin-work" | "control-work" => Some(19),
        _ if name.starts_with("compress-quick") => Some(own.max(15)),
        _ if name.starts_with("compress-best") => Some(19),
        _ => None,
    };
    eventually("each thread has its priority", async || {
        // What waits for the disk ends after a while of rest.
        got(edge.api(Method::GET, "/v1/apps")).await;
        let threads = edge.process().threads();
        let named = |begin: &str| threads.iter().filter(|(name, _)| name.starts_with(begin)).count();
        let all = ["serve-", "admin", "admin-work", "control-work", "compress-quick", "compress-best"];
        let found = all.into_iter().all(|name| named(name) > 0) && threads.iter().any(|(name, _)| name == "admin");
        // A thread has its name a moment before its priority.
        found && threads.iter().all(|(name, nice)| nice_of(name).is_none_or(|expected| expected == *nice))
    })
    .await;
    let for_tasks = edge.process().threads().into_iter().filter(|(name, _)| name == "control").count();
    assert_eq!(for_tasks, 2, "both, and no other, have that name");
    edge.stop().await;
}
