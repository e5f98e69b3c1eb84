//! Accepted requests complete, even if the edge ends; and no app occupies all permits.

use devanture_config::api::{DeployState, DeployStatus, Outcome};
use devanture_config::problem::Code;
use futures_util::stream;
use http::{Method, StatusCode};
use reqwest::RequestBuilder;

use crate::deploying::backend::Backend;
use crate::deploying::gate::history;
use crate::support::archives::{stored_zip, tar, zip};
use crate::support::{Files, RunningEdge, edge, eventually, got};

fn archive(edge: &RunningEdge, app: &str) -> RequestBuilder {
    let path = format!("/v1/apps/{app}/environments/prod/deploys");
    edge.api(Method::POST, &path).header("content-type", "application/zip")
}

#[tokio::test]
async fn a_deploy_that_was_accepted_ends_before_the_edge_does() {
    let (edge, backend) = (edge().start().await, Backend::start());
    // The deploy takes as long as this check.
    backend.is_silent();
    let toml = format!(
        "[[smoke]]\npath = \"/api/x\"\ntimeout_ms = 1500\n[[routes]]\npath = \"/api/*\"\nto = \"http://{}\"\n",
        backend.address
    );
    let files: Files<'_> = &[("index.html", b"Shop"), ("devanture.toml", toml.as_bytes())];
    let accepted = got(archive(&edge, "shop").header("prefer", "respond-async").body(zip(files))).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.text());
    let begun: DeployStatus = accepted.json();
    let edge = edge.restart().await;
    let deploys = history(&edge, "prod").await.deploys;
    assert_eq!(deploys.len(), 1, "{deploys:?}");
    assert_eq!((&deploys[0].id, deploys[0].outcome), (&begun.deploy, Outcome::Failed));
    assert_eq!(deploys[0].problem.as_ref().unwrap().code, Code::SmokeFailed);
    let path = format!("/v1/apps/shop/deploys/{}", begun.deploy);
    assert_eq!(got(edge.api(Method::GET, &path)).await.json::<DeployStatus>().state, DeployState::Failed);
    edge.stop().await;
}

/// Law 11.
#[tokio::test]
async fn archives_of_one_app_leave_places_for_those_of_others() {
    let edge = edge().with_limit("pushes_max", 4).start().await;
    let whole = stored_zip(&[("index.html", &[b'x'; 10_000])]);
    let mut coming = Vec::new();
    for number in 1..=2 {
        let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(1);
        let body = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
        let sent = tokio::spawn(got(archive(&edge, "greedy").body(reqwest::Body::wrap_stream(body))));
        sender.send(Ok(whole[..5_000].to_vec())).await.unwrap();
        eventually("it is coming in", async || edge.leftovers().len() == number).await;
        coming.push((sender, sent));
    }
    assert_eq!(got(archive(&edge, "greedy").body(whole.clone())).await.code(), Code::Busy);
    let other = got(archive(&edge, "shop").body(tar(&[("index.html", b"Shop")]))).await;
    assert_eq!(other.status, StatusCode::OK, "{}", other.text());
    for (sender, sent) in coming {
        sender.send(Ok(whole[5_000..].to_vec())).await.unwrap();
        drop(sender);
        assert_eq!(sent.await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(got(archive(&edge, "greedy").body(whole)).await.status, StatusCode::OK, "its places are free again");
    edge.stop().await;
}
