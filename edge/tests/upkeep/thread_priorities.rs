//! The priorities of the threads of a real process: visitors come first.

use crate::support::{edge, eventually};

#[tokio::test]
async fn threads_that_store_and_compress_have_less_priority_than_those_that_serve() {
    let edge = edge().in_a_process().start().await;
    let own = rustix::process::getpriority_process(None).unwrap();
    let nice_of = |name: &str| match name {
        // Instances wait for what `control` writes, and have its priority by the spawner, which it starts.
        _ if name.starts_with("serve-") || matches!(name, "control" | "admin") => Some(own),
        "admin-work" => Some(own.max(5)),
        _ if name.starts_with("compress-quick") => Some(own.max(10)),
        _ if name.starts_with("compress-best") => Some(19),
        _ => None,
    };
    let mut pushes = 0;
    eventually("each thread has its priority", async || {
        // Another one each time: threads that wait for the disk end after a while of rest.
        pushes += 1;
        edge.push("shop", &[("index.html", format!("<!doctype html><title>Shop {pushes}</title>").as_bytes())]).await;
        let threads = edge.process().threads();
        let named = |begin: &str| threads.iter().filter(|(name, _)| name.starts_with(begin)).count();
        let all = ["serve-", "control", "admin-work", "compress-quick", "compress-best"];
        let found = all.into_iter().all(|name| named(name) > 0) && threads.iter().any(|(name, _)| name == "admin");
        // A thread has the name of the one that started it at first, and its own before its priority.
        found && threads.iter().all(|(name, nice)| nice_of(name).is_none_or(|expected| expected == *nice))
    })
    .await;
    edge.stop().await;
}
