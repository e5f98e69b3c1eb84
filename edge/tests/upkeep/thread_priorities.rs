//! Thread priorities of a real process: threads that serve visitors come first.

use crate::support::{edge, eventually};

#[tokio::test]
async fn threads_that_store_and_compress_have_less_priority_than_those_that_serve() {
    let edge = edge().in_a_process().start().await;
    let own = rustix::process::getpriority_process(None).unwrap();
    let nice_of = |name: &str| match name {
        // Instances depend on `control`'s writes, and inherit the priority through the spawner, which `control` starts.
        _ if name.starts_with("serve-") || matches!(name, "control" | "admin") => Some(own),
        "admin-work" => Some(own.max(5)),
        _ if name.starts_with("compress-quick") => Some(own.max(10)),
        _ if name.starts_with("compress-best") => Some(19),
        _ => None,
    };
    let mut pushes = 0;
    eventually("each thread has its priority", async || {
        // A different file each time: threads that wait for the disk end after a while without work.
        pushes += 1;
        edge.push("shop", &[("index.html", format!("<!doctype html><title>Shop {pushes}</title>").as_bytes())]).await;
        let threads = edge.process().threads();
        let named = |begin: &str| threads.iter().filter(|(name, _)| name.starts_with(begin)).count();
        let all = ["serve-", "control", "admin-work", "compress-quick", "compress-best"];
        let found = all.into_iter().all(|name| named(name) > 0) && threads.iter().any(|(name, _)| name == "admin");
        // A thread first has the name of the parent thread, and gets the own name before the priority.
        found && threads.iter().all(|(name, nice)| nice_of(name).is_none_or(|expected| expected == *nice))
    })
    .await;
    edge.stop().await;
}
