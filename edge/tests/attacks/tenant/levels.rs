//! Information that the best compression level reveals about the stored files of other apps.

use devanture_config::api::{BeginDeploy, DeployOptions, DeployReport};
use http::Method;

use crate::support::{Files, RunningEdge, edge, eventually, got, manifest};

/// Text that the best level compresses further than the quick level; true for any other number, too.
fn text(number: u32) -> Vec<u8> {
    let line =
        |line: u32| format!("item {line}: the price of {} is {} and {number}\n", line * 7 % 31, line * line % 97);
    (0..400).map(line).collect::<String>().into_bytes()
}

/// Pushes a file that only the preview serves.
async fn push_preview(edge: &RunningEdge, app: &str, files: Files<'_>) -> DeployReport {
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options };
    edge.try_push(app, "prod", begin, files).await.unwrap()
}

/// Encoded size of a file in bytes.
async fn travelling(edge: &RunningEdge, host: &str, coding: &str) -> usize {
    let answer = got(edge.visit(Method::GET, host, "/a.txt").header("accept-encoding", coding)).await;
    assert_eq!(answer.header("content-encoding"), coding, "{}", answer.text());
    answer.body.len()
}

fn host_of(pushed: &DeployReport) -> String {
    let url = pushed.urls.preview.as_str();
    let host = url.strip_prefix("https://").unwrap().split([':', '/']).next().unwrap();
    host.to_owned()
}

/// Waits for the best level after a switch; returns the size of each encoding.
async fn best(edge: &RunningEdge, host: &str, quick: [usize; 3]) -> [usize; 3] {
    eventually("all is compressed at the best level", async || {
        all(edge, host).await.iter().zip(quick).all(|(now, quick)| *now < quick)
    })
    .await;
    all(edge, host).await
}

async fn all(edge: &RunningEdge, host: &str) -> [usize; 3] {
    [travelling(edge, host, "br").await, travelling(edge, host, "gzip").await, travelling(edge, host, "zstd").await]
}

#[tokio::test(flavor = "multi_thread")]
async fn law_11_the_level_at_which_a_file_comes_tells_nothing_of_other_apps() {
    let edge = edge().start().await;
    let (known, other) = (text(1), text(2));
    // Files of previews stay at the quick level, whose sizes the test records.
    let earlier = push_preview(&edge, "first", &[("a.txt", &known)]).await;
    let quick = all(&edge, &host_of(&earlier)).await;
    edge.push("shop", &[("a.txt", &known)]).await;
    let at_best = best(&edge, "shop.localhost", quick).await;

    // A guess of another app's content gets the quick level, before and after a restart.
    let guess = push_preview(&edge, "guess", &[("a.txt", &known)]).await;
    let miss = push_preview(&edge, "guess", &[("a.txt", &other)]).await;
    let (guess, miss) = (host_of(&guess), host_of(&miss));
    let edge = {
        assert_eq!(all(&edge, &guess).await, quick);
        let of_miss = all(&edge, &miss).await;
        let edge = edge.restart().await;
        assert_eq!(all(&edge, &miss).await, of_miss);
        edge
    };
    assert_eq!(all(&edge, &guess).await, quick);
    // The app's earlier push keeps the quick level, too.
    assert_eq!(all(&edge, &host_of(&earlier)).await, quick);
    assert_eq!(all(&edge, "shop.localhost").await, at_best);

    // An app with the file live gets the best level, in previews as well.
    edge.push("guess", &[("a.txt", &known), ("b.txt", b"more")]).await;
    assert_eq!(best(&edge, "guess.localhost", quick).await, at_best);
    let again = push_preview(&edge, "guess", &[("a.txt", &known), ("c.txt", b"even more")]).await;
    assert_eq!(all(&edge, &host_of(&again)).await, at_best);
    let edge = edge.restart().await;
    assert_eq!(all(&edge, "guess.localhost").await, at_best);
    assert_eq!(all(&edge, "shop.localhost").await, at_best);
    assert_eq!(all(&edge, &host_of(&earlier)).await, quick);
}
