//! `devanture push` in CI without a stored secret: the identity token of GitHub Actions, and that of a variable, become a
//! token, against an issuer on loopback whose key is made at run time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};

use crate::support::edge::{Edge, Ran, edge};

const AUDIENCE: &str = "https://edge.example.org:8444";
/// What opens the address that makes identity tokens.
const OPENS: &str = "opens-this-address";

/// An issuer that also makes identity tokens as GitHub Actions does. Its thread ends with the process.
struct Issuer {
    address: SocketAddr,
    key: Arc<KeyPair>,
}

/// A number that no other identity token has.
fn number() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    fn start() -> Self {
        let key = Arc::new(KeyPair::generate_for(&PKCS_ED25519).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = Self { address: listener.local_addr().unwrap(), key };
        let (address, key) = (issuer.address, Arc::clone(&issuer.key));
        std::thread::spawn(move || {
            let serving = Self { address, key };
            for stream in listener.incoming() {
                serving.answer(stream.unwrap());
            }
        });
        issuer
    }

    fn name(&self) -> String {
        format!("http://{}", self.address)
    }

    fn answer(&self, mut stream: TcpStream) {
        let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
        while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            match stream.read(&mut piece) {
                Ok(count) if count > 0 => bytes.extend_from_slice(&piece[..count]),
                _ => return,
            }
        }
        let head = String::from_utf8(bytes).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        let body = match path.split('?').next().unwrap() {
            "/.well-known/openid-configuration" => {
                Some(json!({ "issuer": self.name(), "jwks_uri": format!("{}/keys", self.name()) }))
            }
            "/keys" => Some(json!({ "keys": [
                { "kty": "OKP", "crv": "Ed25519", "kid": "k1", "use": "sig", "x": text(self.key.der_bytes()) }
            ] })),
            "/request" if head.to_ascii_lowercase().contains(&format!("authorization: bearer {OPENS}")) => {
                let audience = path.split("audience=").nth(1).unwrap().replace("%3A", ":").replace("%2F", "/");
                Some(json!({ "value": self.identity_token(&audience, "refs/heads/main") }))
            }
            _ => None,
        };
        let (status, body) = match body {
            Some(body) => ("200 OK", body.to_string()),
            None => ("403 Forbidden", String::new()),
        };
        let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        // A client that has read enough may have gone.
        stream.write_all(format!("{head}{body}").as_bytes()).ok();
    }

    fn identity_token(&self, audience: &str, branch: &str) -> String {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": self.name(), "aud": audience, "sub": format!("repo:acme/shop:ref:{branch}"),
            "jti": format!("id-{}", number()), "iat": now_s, "exp": now_s + 300,
            "repository": "acme/shop", "ref": branch,
        });
        let header = json!({ "alg": "EdDSA", "kid": "k1", "typ": "JWT" });
        let signed = format!("{}.{}", text(header.to_string()), text(claims.to_string()));
        format!("{signed}.{}", text(self.key.sign(signed.as_bytes()).unwrap()))
    }

    /// An edge that trusts it.
    fn edge(&self) -> Edge {
        let table = format!(
            "[[trust]]\nname = \"ci-main\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\napp = \"shop\"\n\
             environments = [\"prod\"]\n[trust.claims]\nrepository = \"acme/shop\"\nref = \"refs/heads/main\"\n",
            self.name()
        );
        edge().with_table(&table).start()
    }
}

/// A command of a job of CI, in a folder of its own, without a token.
fn command(edge: &Edge, home: &Path, arguments: &[&str]) -> Command {
    let mut command = edge.command(home, "shop", arguments);
    command.env_remove("DEVANTURE_TOKEN").env("HOME", home).env("DEVANTURE_AUDIENCE", AUDIENCE);
    command
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("dist")).unwrap();
    std::fs::write(home.path().join("dist/index.html"), "<title>from CI</title>").unwrap();
    home
}

fn ran(command: &mut Command) -> Ran {
    Ran::of(command.output().unwrap())
}

/// Waits until the log of an edge has this text.
fn logs(edge: &Edge, text: &str) {
    for _ in 0..3_000 {
        if edge.log().contains(text) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{text}: {}", edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_github_actions_needs_no_stored_secret() {
    let (issuer, home) = (Issuer::start(), home());
    let edge = issuer.edge();
    let in_job = |arguments: &[&str]| {
        let mut command = command(&edge, home.path(), arguments);
        command.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/request?api-version=2.0", issuer.name()));
        command.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", OPENS);
        command
    };
    let pushed = ran(&mut in_job(&["push", "dist", "--json"]));
    assert_eq!(pushed.code, Some(0), "{pushed:#?}\n{}", edge.log());
    let (_, history) = edge.api("GET", "/v1/apps/shop/environments/prod/history", None).await;
    assert_eq!(history["deploys"][0]["who"], "trust:ci-main", "{history}");
    // Each command has another identity token.
    for _ in 0..2 {
        let status = ran(&mut in_job(&["status", "--json"]));
        assert_eq!(status.json()["version"], pushed.json()["version"], "{status:#?}");
    }
    let staging = ran(&mut in_job(&["push", "dist", "--env", "staging", "--json"]));
    assert_eq!((staging.code, staging.problem().as_str()), (Some(4), "bad_identity_token"), "{staging:#?}");
    let message = staging.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("GitHub Actions") && message.contains(AUDIENCE), "{message}");
    logs(&edge, "it is not for staging");
    let elsewhere = ran(in_job(&["status", "--json"]).env("DEVANTURE_AUDIENCE", "https://other.example.org"));
    assert_eq!(elsewhere.problem(), "bad_identity_token", "{elsewhere:#?}");
    let closed = ran(in_job(&["status", "--json"]).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "other"));
    assert!(closed.json()["error"]["hint"].as_str().unwrap().contains("id-token: write"), "{closed:#?}");
    for said in [&pushed, &staging, &elsewhere, &closed] {
        assert!(!format!("{said:?}").contains(OPENS), "{said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_command_of_a_job_finds_what_its_identity_token_was_exchanged_for() {
    let (issuer, home) = (Issuer::start(), home());
    let edge = issuer.edge();
    let identity_token = issuer.identity_token(AUDIENCE, "refs/heads/main");
    let in_job = |folder: &Path, arguments: &[&str]| {
        let mut command = command(&edge, folder, arguments);
        command.env("DEVANTURE_ID_TOKEN", &identity_token);
        ran(&mut command)
    };
    for _ in 0..2 {
        let pushed = in_job(home.path(), &["push", "dist", "--json"]);
        assert_eq!(pushed.code, Some(0), "{pushed:#?}\n{}", edge.log());
    }
    let kept = home.path().join(".local/state/devanture");
    for entry in std::fs::read_dir(&kept).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&identity_token), "{name} has the identity token");
    }
    // Another job, which has stolen it, has nothing of it.
    let thief = tempfile::tempdir().unwrap();
    let stolen = in_job(thief.path(), &["status", "--json"]);
    assert_eq!((stolen.code, stolen.problem().as_str()), (Some(4), "bad_identity_token"), "{stolen:#?}");
    let message = stolen.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("exchanged before") && message.contains("DEVANTURE_ID_TOKEN"), "{message}");
    let branch = issuer.identity_token(AUDIENCE, "refs/heads/other");
    let refused = ran(command(&edge, home.path(), &["push", "dist", "--json"]).env("DEVANTURE_ID_TOKEN", &branch));
    assert_eq!(refused.problem(), "bad_identity_token", "{refused:#?}");
    assert_eq!(refused.last_line(), "The previous version is still running.", "{refused:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_curl_exchanges_is_a_token_as_any_other() {
    let issuer = Issuer::start();
    let edge = issuer.edge();
    let body = json!({ "identity_token": issuer.identity_token(AUDIENCE, "refs/heads/main"), "app": "shop" });
    let answer = edge.client(true).post(format!("https://{}/v1/exchange", edge.admin())).body(body.to_string());
    let answer = answer.header("content-type", "application/json").send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((answer["trust"].as_str(), answer["environment"].as_str()), (Some("ci-main"), Some("prod")), "{answer}");
    let own = ran(edge
        .command(Path::new("/"), "shop", &["status", "--json"])
        .env("DEVANTURE_TOKEN", answer["token"].as_str().unwrap()));
    assert!(["not_found", "nothing_live"].contains(&own.problem().as_str()), "nothing is there yet: {own:#?}");
}
