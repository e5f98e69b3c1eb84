//! One-off commands: required scopes, and revocation of a token before the command is sent.

use bytes::Bytes;
use devanture_config::api::{RunRequest, Scope, TokenList};
use devanture_config::problem::Code;
use devanture_config::run_stream::{ClientFrame, Frame as _, MEDIA_TYPE};
use futures_util::stream;
use http::{Method, StatusCode};
use tokio::sync::mpsc;

use crate::support::{edge, eventually, got};

fn command() -> Bytes {
    let command = RunRequest { command: vec!["true".to_owned()], terminal: None, term: None, timeout_ms: None };
    Bytes::from(ClientFrame::Begin(command).bytes().unwrap())
}

/// A command can read the secrets and data of an environment: the scopes push and promote must not suffice.
#[tokio::test]
async fn a_command_takes_the_scope_run() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    for scope in Scope::ALL {
        for environment in ["prod", "staging", "preview"] {
            let token = edge.token_for(scope, Some("shop"), Some(environment)).await;
            let path = format!("/v1/apps/shop/environments/{environment}/run");
            let request = edge.ask(Method::POST, &path, &token).header("content-type", MEDIA_TYPE).body(command());
            // No backend exists to run the command.
            let expected = if scope.includes(Scope::Run) { Code::RunnerOff } else { Code::Forbidden };
            assert_eq!(got(request).await.code(), expected, "{scope} in {environment}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_token_that_is_revoked_before_the_first_frame_runs_nothing() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    let token = edge.token_for(Scope::Run, Some("shop"), None).await;
    let id = token.split('_').nth(1).unwrap().to_owned();
    let (input, frames) = mpsc::channel(1);
    let frames = stream::unfold(frames, async |mut frames: mpsc::Receiver<Bytes>| {
        frames.recv().await.map(|bytes| (Ok::<_, std::io::Error>(bytes), frames))
    });
    let request = edge.ask(Method::POST, "/v1/apps/shop/environments/prod/run", &token);
    let request = request.header("content-type", MEDIA_TYPE).body(reqwest::Body::wrap_stream(frames));
    let answer = tokio::spawn(got(request));
    eventually("the token is recognised", async || {
        let list: TokenList = got(edge.api(Method::GET, "/v1/tokens")).await.json();
        list.tokens.iter().any(|token| token.id == id && token.last_used_ms.is_some())
    })
    .await;
    let revoked = got(edge.api(Method::DELETE, &format!("/v1/tokens/{id}"))).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    input.send(command()).await.unwrap();
    assert_eq!(answer.await.unwrap().code(), Code::BadToken);
    edge.stop().await;
}
