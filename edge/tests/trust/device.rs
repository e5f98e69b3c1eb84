//! Device grant through the edge, for a client with a secret: the number of anonymous starts is limited.

use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use devanture_config::problem::Code;
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::issuer::SigningKey;
use super::world::{World, exchange};
use crate::support::{Got, RunningEdge, Setup, edge, got};

/// Provider with the device grant and a chosen response to device codes, ended on drop.
struct Provider {
    name: String,
    answer: Arc<Mutex<(u16, Value)>>,
    polls: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = format!("http://{}", listener.local_addr().unwrap());
        let (answer, polls) = (Arc::new(Mutex::new((400, json!({})))), Arc::new(AtomicUsize::new(0)));
        let keys = json!({ "keys": [SigningKey::new("EdDSA").jwk("k1")] });
        let document = json!({
            "issuer": name,
            "jwks_uri": format!("{name}/keys"),
            "device_authorization_endpoint": format!("{name}/device"),
            "token_endpoint": format!("{name}/token"),
        });
        let (shared, counted) = (Arc::clone(&answer), Arc::clone(&polls));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(path) = read_request(&mut stream).await else { continue };
                let (status, body) = match path.as_str() {
                    "/token" => {
                        counted.fetch_add(1, Ordering::SeqCst);
                        shared.lock().unwrap().clone()
                    }
                    "/keys" => (200, keys.clone()),
                    _ => (200, document.clone()),
                };
                let body = body.to_string();
                let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\nretry-after: 60\r\n", body.len());
                let answer = format!("{head}connection: close\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        Self { name, answer, polls, task }
    }

    fn answers(&self, status: u16, body: Value) {
        *self.answer.lock().unwrap() = (status, body);
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    fn setup(&self, secret: &str) -> Setup {
        edge().with_toml(&format!(
            "\n[oidc]\nissuer = \"{}\"\nclient_id = \"devanture-cli\"\nclient_secret_file = \"{secret}\"\n\
             [[oidc.groups]]\ngroup = \"web\"\nrole = \"developer\"\napps = [\"shop\"]\n",
            self.name
        ))
    }
}

/// Path of a request, once read completely.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut end) = (Vec::new(), None);
    while end.is_none_or(|end| bytes.len() < end) {
        stream.read_buf(&mut bytes).await.ok().filter(|count| *count > 0)?;
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        end = head.map(|at| {
            let head = String::from_utf8_lossy(&bytes[..at]).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            at + 4 + length.unwrap_or(0_usize)
        });
    }
    Some(String::from_utf8_lossy(&bytes).split(' ').nth(1)?.to_owned())
}

async fn poll(edge: &RunningEdge, device_code: &str) -> Got {
    post(edge, "/v1/device/token", &json!({ "device_code": device_code, "app": "shop" })).await
}

#[tokio::test]
async fn guesses_at_device_codes_are_limited_whatever_words_the_provider_has() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let secret = write_secret(&folder);
    for (status, answer, expected) in [
        (400, json!({ "error": "bad_verification_code" }), StatusCode::UNAUTHORIZED),
        (400, json!({ "error": "authorization_declined" }), StatusCode::FORBIDDEN),
        (400, json!({ "error": "a word of its own" }), StatusCode::SERVICE_UNAVAILABLE),
        (403, json!("no form that looks like an attack"), StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let edge = provider.setup(&secret).with_limit("login_attempts_per_address_max", 3).start().await;
        let before = provider.polls();
        provider.answers(status, answer.clone());
        for number in 0..3 {
            let refused = poll(&edge, &format!("guess-{number}")).await;
            assert_eq!(refused.status, expected, "{answer}: {refused:?}");
        }
        let limited = poll(&edge, "guess-3").await;
        assert_eq!(
            (limited.status, limited.code()),
            (StatusCode::TOO_MANY_REQUESTS, Code::TooManyAttempts),
            "{answer}"
        );
        assert_eq!(provider.polls() - before, 3, "{answer}");
        edge.stop().await;
    }
}

#[tokio::test]
async fn a_provider_that_is_busy_hears_of_no_more_device_codes_for_a_while() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let edge = provider.setup(&write_secret(&folder)).with_limit("login_attempts_per_address_max", 3).start().await;
    provider.answers(429, json!({}));
    for number in 0..6 {
        let answer = poll(&edge, &format!("d-{number}")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{number}: {answer:?}");
    }
    assert_eq!(provider.polls(), 1);
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_polls_without_pause_is_slowed_down_by_the_edge_itself() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let edge = provider.setup(&write_secret(&folder)).with_limit("login_attempts_per_address_max", 3).start().await;
    provider.answers(400, json!({ "error": "authorization_pending" }));
    let mut last = poll(&edge, "d-1").await;
    for _ in 0..200 {
        if last.status == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
        assert_eq!(last.status, StatusCode::ACCEPTED, "{last:?}");
        last = poll(&edge, "d-1").await;
    }
    assert_eq!(last.code(), Code::TooManyAttempts);
    assert!(provider.polls() < 100, "{}", provider.polls());
    edge.stop().await;
}

fn write_secret(folder: &TempDir) -> String {
    let path = folder.path().join("oidc.secret");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, b"a-secret-of-the-client\n").unwrap();
    path.to_str().unwrap().to_owned()
}

async fn post(edge: &RunningEdge, path: &str, body: &Value) -> Got {
    got(edge.client().post(format!("https://{}{path}", edge.admin())).json(body)).await
}

#[tokio::test]
async fn an_address_begins_no_more_logins_than_it_may_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let secret = write_secret(&folder);
    let world = World::start_with_issuer(|setup, issuer| {
        setup.with_limit("login_attempts_per_address_max", 3).with_toml(&format!(
            "\n[oidc]\nissuer = \"{}\"\nclient_id = \"devanture-cli\"\nclient_secret_file = \"{secret}\"\n\
             [[oidc.groups]]\ngroup = \"web\"\nrole = \"developer\"\napps = [\"shop\"]\n",
            issuer.name()
        ))
    })
    .await;
    // Each attempt counts, whatever the result: this provider starts none.
    for _ in 0..3 {
        let answer = post(&world.edge, "/v1/device", &json!({})).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    }
    let identity_token = world.signed(&world.claims());
    let exchanged = json!({ "identity_token": identity_token, "app": "shop", "environment": "prod" });
    for answer in [
        post(&world.edge, "/v1/device", &json!({})).await,
        post(&world.edge, "/v1/device/token", &json!({ "device_code": "d-1" })).await,
        exchange(&world.edge, &exchanged).await,
    ] {
        assert_eq!((answer.status, answer.code()), (StatusCode::TOO_MANY_REQUESTS, Code::TooManyAttempts));
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    }
    world.edge.stop().await;
}
