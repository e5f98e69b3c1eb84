//! `devanture login --oidc`: a code in a browser becomes a login, against a provider on loopback with a key made at run
//! time. The same provider lets a browser in to protected pages.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::edge::{Edge, edge};

const CLIENT: &str = "devanture-cli";

/// A provider whose token endpoint answers a list of errors, and then the identity token. The thread ends with the
/// process.
#[derive(Clone)]
struct Provider {
    address: SocketAddr,
    key: Arc<KeyPair>,
    errors: Arc<Mutex<VecDeque<&'static str>>>,
    /// The nonce of a browser's login.
    nonce: Arc<Mutex<Option<String>>>,
    /// The required secret of the client, if any.
    secret: Option<&'static str>,
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Provider {
    fn start(errors: &[&'static str]) -> Self {
        Self::start_with(errors, None)
    }

    /// Starts a provider whose client has a secret.
    fn start_with(errors: &[&'static str], secret: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let provider = Self {
            address: listener.local_addr().unwrap(),
            key: Arc::new(KeyPair::generate_for(&PKCS_ED25519).unwrap()),
            errors: Arc::new(Mutex::new(errors.iter().copied().collect())),
            nonce: Arc::default(),
            secret,
        };
        let serving = provider.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serving.answer(stream.unwrap());
            }
        });
        provider
    }

    fn name(&self) -> String {
        format!("http://{}", self.address)
    }

    fn edge(&self) -> Edge {
        self.edge_with("")
    }

    /// An edge with more lines of `[oidc]`.
    fn edge_with(&self, more: &str) -> Edge {
        let table = format!(
            "[names]\nlogin = \"login.localhost\"\n[oidc]\nissuer = \"{}\"\nclient_id = \"{CLIENT}\"\n{more}\
             [[oidc.groups]]\ngroup = \"web\"\nrole = \"developer\"\napps = \"shop\"\n",
            self.name()
        );
        edge().with_table(&table).start()
    }

    fn answer(&self, mut stream: TcpStream) {
        let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
        let request = loop {
            match stream.read(&mut piece) {
                Ok(count) if count > 0 => bytes.extend_from_slice(&piece[..count]),
                _ => return,
            }
            let text = String::from_utf8(bytes.clone()).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).map_or("0", |rest| rest.split("\r\n").next().unwrap());
            if body.len() >= length.parse().unwrap() {
                break text;
            }
        };
        let (name, target) = (self.name(), request.split(' ').nth(1).unwrap());
        if let Some(query) = target.strip_prefix("/authorize?") {
            let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)).unwrap();
            *self.nonce.lock().unwrap() = Some(parameter("nonce=").to_owned());
            let redirect = percent_encoding::percent_decode_str(parameter("redirect_uri=")).decode_utf8().unwrap();
            let to = format!("{redirect}?code=c1&state={}", parameter("state="));
            let head =
                format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).ok();
            return;
        }
        let pair = self.secret.map(|secret| format!("{CLIENT}:{secret}"));
        let shown = pair.map(|pair| format!("authorization: basic {}", STANDARD.encode(pair)).to_ascii_lowercase());
        let is_client = shown.is_none_or(|shown| request.to_ascii_lowercase().contains(&format!("{shown}\r\n")));
        let (status, body) = match target {
            "/.well-known/openid-configuration" => (
                200,
                json!({
                    "issuer": name,
                    "jwks_uri": format!("{name}/keys"),
                    "authorization_endpoint": format!("{name}/authorize"),
                    "device_authorization_endpoint": format!("{name}/device"),
                    "token_endpoint": format!("{name}/token"),
                }),
            ),
            "/keys" => (
                200,
                json!({ "keys": [
                { "kty": "OKP", "crv": "Ed25519", "kid": "k1", "use": "sig", "x": text(self.key.der_bytes()) }
            ] }),
            ),
            "/device" | "/token" if !is_client => (401, json!({ "error": "invalid_client" })),
            "/token" if request.contains("&code=c1&") => (200, json!({ "id_token": self.identity_token() })),
            "/device"
                if [
                    "client_id=devanture-cli&scope=openid+profile+email",
                    "client_id=devanture-cli&scope=openid%20profile%20email",
                ]
                .iter()
                .any(|form| request.ends_with(form)) =>
            {
                (
                    200,
                    json!({
                        "device_code": "d-1", "user_code": "WDJB-MJHT", "verification_uri": format!("{name}/confirm"),
                        "expires_in": 600, "interval": 1,
                    }),
                )
            }
            "/token" if request.contains("device_code=d-1") => match self.errors.lock().unwrap().pop_front() {
                Some(error) => (400, json!({ "error": error })),
                None => {
                    (200, json!({ "access_token": "x", "token_type": "Bearer", "id_token": self.identity_token() }))
                }
            },
            _ => (404, json!({})),
        };
        let body = body.to_string();
        let head = format!("HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).ok();
    }

    fn identity_token(&self) -> String {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": self.name(), "aud": CLIENT, "sub": "1", "iat": now_s, "exp": now_s + 300,
            "nonce": self.nonce.lock().unwrap().clone(),
            "email": "ada@example.org", "email_verified": true, "groups": ["web"],
        });
        let signed =
            format!("{}.{}", text(json!({ "alg": "EdDSA", "kid": "k1" }).to_string()), text(claims.to_string()));
        format!("{signed}.{}", text(self.key.sign(signed.as_bytes()).unwrap()))
    }
}

/// A command of a person without a token.
fn command(edge: &Edge, home: &Path, arguments: &[&str]) -> Command {
    let mut command = edge.command(home, "shop", arguments);
    command.env_remove("DEVANTURE_TOKEN").env_remove("XDG_STATE_HOME").env("HOME", home);
    command
}

fn ran(edge: &Edge, home: &Path, arguments: &[&str]) -> Output {
    command(edge, home, arguments).output().unwrap()
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_confirmed_code_is_a_login_that_commands_use_and_logout_ends() {
    let provider = Provider::start(&["authorization_pending", "slow_down"]);
    let (edge, home) = (provider.edge(), tempfile::tempdir().unwrap());
    let login = ran(&edge, home.path(), &["login", "--oidc"]);
    let text = shown(&login);
    assert!(login.status.success(), "{text}");
    assert!(text.contains(&format!("open {}/confirm and enter the code WDJB-MJHT", provider.name())), "{text}");
    assert!(text.contains("Logged in as oidc:ada@example.org, push for preview of shop."), "{text}");
    let whoami = ran(&edge, home.path(), &["whoami", "--json"]);
    let session: Value = serde_json::from_slice(&whoami.stdout).unwrap_or_else(|_| panic!("{}", shown(&whoami)));
    assert_eq!(session["token"], "oidc:ada@example.org", "{session}");
    assert_eq!(session["rights"][0]["environment"], "preview", "{session}");
    let logout = ran(&edge, home.path(), &["logout"]);
    assert!(logout.status.success(), "{}", shown(&logout));
    let after = ran(&edge, home.path(), &["whoami"]);
    assert_eq!(after.status.code(), Some(4), "{}", shown(&after));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_logs_in_at_the_provider_to_see_what_is_protected() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret_file(folder.path(), "s3cret-of-the-client\n", 0o600);
    let secret = Provider::start_with(&[], Some("s3cret-of-the-client"));
    for (provider, more) in
        [(Provider::start(&[]), String::new()), (secret, format!("client_secret_file = {file:?}\n"))]
    {
        let (edge, www) = (provider.edge_with(&more), tempfile::tempdir().unwrap());
        std::fs::write(www.path().join("index.html"), "<title>the shop</title><p>the shop</p>").unwrap();
        edge.push("shop", www.path());
        let protected = edge.run("shop", &["protect", "prod", "oidc"]);
        assert!(protected.stdout.contains("prod: oidc"), "{protected:#?}");
        let Some(browser) = Browser::start().await else { return };
        let page = browser.open(&edge.url("shop.localhost", "/?from=a%20chat")).await;
        assert_eq!(page.evaluate("document.title").await, Value::from("Protected"));
        page.evaluate("document.querySelector('#login').click()").await;
        page.wait_for("document.title === 'the shop'").await;
        assert_eq!(page.evaluate("location.hostname + location.search").await, "shop.localhost?from=a%20chat");
        assert_eq!(page.evaluate("document.cookie + document.referrer").await, "");
        page.close().await;
        browser.quit().await;
    }
}

#[test]
fn a_denied_code_is_no_login() {
    let provider = Provider::start(&["authorization_pending", "access_denied"]);
    let (edge, home) = (provider.edge(), tempfile::tempdir().unwrap());
    let denied = ran(&edge, home.path(), &["login", "--oidc"]);
    assert_eq!(denied.status.code(), Some(4), "{}", shown(&denied));
    assert!(shown(&denied).contains("was denied"), "{}", shown(&denied));
    let expired = Provider::start(&["expired_token"]);
    let edge = expired.edge();
    let late = ran(&edge, home.path(), &["login", "--oidc"]);
    assert_eq!(late.status.code(), Some(4), "{}", shown(&late));
    assert!(shown(&late).contains("not confirmed in time"), "{}", shown(&late));
}

#[test]
fn who_is_logged_in_elsewhere_learns_what_to_do() {
    let provider = Provider::start(&[]);
    let (edge, home) = (provider.edge(), tempfile::tempdir().unwrap());
    let login = ran(&edge, home.path(), &["login", "--oidc"]);
    assert!(login.status.success(), "{}", shown(&login));
    let elsewhere = ran(&edge, home.path(), &["whoami", "--env", "staging"]);
    assert_eq!(elsewhere.status.code(), Some(4), "{}", shown(&elsewhere));
    for expected in [
        "there is a login to preview of shop, and none to staging of shop",
        "`devanture login --oidc --env staging` logs in there, too; `--env preview` uses the one that is there",
    ] {
        assert!(shown(&elsewhere).contains(expected), "{}", shown(&elsewhere));
    }
    let logout = ran(&edge, home.path(), &["logout", "--env", "staging"]);
    assert!(shown(&logout).contains("the login to preview of shop stays"), "{}", shown(&logout));
    assert!(ran(&edge, home.path(), &["whoami"]).status.success());
    // A second edge has separate logins.
    let other = provider.edge();
    let stranger = ran(&other, home.path(), &["whoami"]);
    assert_eq!(stranger.status.code(), Some(4), "{}", shown(&stranger));
    assert!(shown(&stranger).contains("People log in with `devanture login --oidc`"), "{}", shown(&stranger));
    // An expired login is reported as expired, by the stored data.
    for entry in std::fs::read_dir(home.path().join(".local/state/devanture")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "lock") {
            continue;
        }
        let mut stored: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        stored[0]["expires_s"] = json!(1);
        std::fs::write(&path, stored.to_string()).unwrap();
    }
    let ended = ran(&edge, home.path(), &["whoami"]);
    assert_eq!(ended.status.code(), Some(4), "{}", shown(&ended));
    for expected in ["The login to preview of shop at", "has ended", "`devanture login --oidc --env preview`"] {
        assert!(shown(&ended).contains(expected), "{}", shown(&ended));
    }
}

/// An edge with a CA of its own stands in for a provider: its answer does not matter.
#[test]
fn a_provider_may_have_a_certificate_of_a_ca_in_the_file_of_devanture_ca() {
    let (other, home) = (edge().start(), tempfile::tempdir().unwrap());
    let of_other = command(&other, home.path(), &[]);
    let issuer = super::trust::variable(&of_other, "DEVANTURE_URL");
    let table = format!(
        "[oidc]\nissuer = \"{issuer}\"\nclient_id = \"{CLIENT}\"\n\
         [[oidc.groups]]\ngroup = \"web\"\nrole = \"developer\"\napps = \"shop\"\n"
    );
    let edge = edge().with_table(&table).start();
    let refused = ran(&edge, home.path(), &["login", "--oidc"]);
    assert!(shown(&refused).contains(&format!("Nobody can log in at {issuer}")), "{}", shown(&refused));
    assert!(shown(&refused).contains("DEVANTURE_CA may hold several CAs"), "{}", shown(&refused));
    let both = super::trust::both_cas(home.path(), &command(&edge, home.path(), &[]), &of_other);
    let answered = command(&edge, home.path(), &["login", "--oidc"]).env("DEVANTURE_CA", both).output().unwrap();
    assert!(shown(&answered).contains("its answer is no JSON"), "{}", shown(&answered));
}

#[test]
fn an_edge_that_a_file_of_the_project_names_begins_no_login() {
    let provider = Provider::start(&[]);
    let (edge, home) = (provider.edge(), tempfile::tempdir().unwrap());
    let mut command = command(&edge, home.path(), &["login", "--oidc"]);
    let url = command.get_envs().find(|(name, _)| *name == "DEVANTURE_URL").unwrap().1.unwrap().to_owned();
    std::fs::write(home.path().join(".env"), format!("DEVANTURE_URL={}\n", url.to_str().unwrap())).unwrap();
    let refused = command.env_remove("DEVANTURE_URL").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", shown(&refused));
    assert!(shown(&refused).contains("a pull request could have written"), "{}", shown(&refused));
}

/// Makes a file with a secret, with this mode.
fn secret_file(folder: &Path, text: &str, mode: u32) -> PathBuf {
    let path = folder.join("oidc.secret");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_client_with_a_secret_logs_people_in_through_the_edge_which_alone_knows_it() {
    let provider = Provider::start_with(&["authorization_pending", "slow_down"], Some("s3cret-of-the-client"));
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = secret_file(folder.path(), "s3cret-of-the-client\n", 0o600);
    let edge = provider.edge_with(&format!("client_secret_file = {file:?}\n"));
    let login = ran(&edge, home.path(), &["login", "--oidc"]);
    let text = shown(&login);
    assert!(login.status.success(), "{text}\n{}", edge.log());
    assert!(text.contains(&format!("open {}/confirm and enter the code WDJB-MJHT", provider.name())), "{text}");
    assert!(text.contains("Logged in as oidc:ada@example.org, push for preview of shop."), "{text}");
    let whoami = shown(&ran(&edge, home.path(), &["whoami"]));
    assert!(whoami.contains("oidc:ada@example.org"), "{whoami}");
    // A changed secret counts from the next login on, without a restart; a wrong secret is reported to the operator.
    secret_file(folder.path(), "wrong\n", 0o600);
    let refused = shown(&ran(&edge, home.path(), &["login", "--oidc"]));
    assert!(refused.contains("identity_keys_unavailable"), "{refused}");
    assert!(edge.log().contains("the provider begins no login"), "{}", edge.log());
    secret_file(folder.path(), "s3cret-of-the-client\n", 0o644);
    let refused = shown(&ran(&edge, home.path(), &["login", "--oidc"]));
    assert!(refused.contains("identity_keys_unavailable") && edge.log().contains("its mode is 644"), "{refused}");
    for said in [&text, &refused, &whoami, &edge.log()] {
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_provider_that_wants_a_secret_gives_nothing_without_one() {
    let provider = Provider::start_with(&[], Some("s3cret-of-the-client"));
    let (edge, home) = (provider.edge(), tempfile::tempdir().unwrap());
    let login = ran(&edge, home.path(), &["login", "--oidc", "--json"]);
    assert!(!login.status.success() && shown(&login).contains("it does not begin a login"), "{}", shown(&login));
}

#[test]
fn a_secret_that_others_can_read_keeps_an_edge_from_starting() {
    let provider = Provider::start(&[]);
    let edge = provider.edge();
    let folder = edge.folder.path();
    let text = std::fs::read_to_string(folder.join("edge.toml")).unwrap();
    let check = |mode: u32, text_of_file: &str| {
        let file = secret_file(folder, text_of_file, mode);
        let with = text.replace("client_id", &format!("client_secret_file = {file:?}\nclient_id"));
        std::fs::write(folder.join("other.toml"), with).unwrap();
        shown(&edge.beside(&["check", "--config", "other.toml"]).wait_with_output().unwrap())
    };
    for (mode, secret, expected) in [(0o644, "s3cret\n", "its mode is 644"), (0o600, "\n", "must hold one line")] {
        let said = check(mode, secret);
        assert!(said.contains("`oidc.client_secret_file` in edge.toml") && said.contains(expected), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
    assert!(!check(0o600, "s3cret\n").contains("client_secret_file"));
}

/// Returns the value in a `location` or a cookie of an answer.
fn said(answer: &reqwest::Response, name: &str) -> String {
    let text = answer.headers().get(name).unwrap_or_else(|| panic!("{name}: {answer:?}"));
    text.to_str().unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_a_visitor_that_the_provider_refuses_is_in_the_log() {
    let (provider, www) = (Provider::start(&[]), tempfile::tempdir().unwrap());
    let edge = provider.edge();
    std::fs::write(www.path().join("index.html"), "<title>the shop</title>").unwrap();
    edge.push("shop", www.path());
    let protected = edge.run("shop", &["protect", "prod", "oidc"]);
    assert_eq!(protected.code, Some(0), "{protected:#?}");
    let client = edge.client(true);
    let open = |url: String, cookie: String| {
        let request = client.get(url).header("accept", "text/html").header("sec-fetch-mode", "navigate");
        request.header("sec-fetch-dest", "document").header("cookie", cookie).send()
    };
    let begin = edge.url("shop.localhost", "/.well-known/devanture/login?to=%2F");
    let (request, own) = {
        let answer = open(begin, String::new()).await.unwrap();
        (said(&answer, "location"), said(&answer, "set-cookie"))
    };
    assert!(own.contains('='), "{own}");
    let answer = open(request, String::new()).await.unwrap();
    let (to, cookie) = (said(&answer, "location"), said(&answer, "set-cookie"));
    let state = to.split("&state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let back = format!("/.well-known/devanture/callback?error=access_denied&state={state}");
    let answer = open(edge.url("login.localhost", &back), cookie).await.unwrap();
    assert_eq!(answer.status(), 401);
    super::trust::logs(&edge, "the provider gives no code, and says access_denied");
}
