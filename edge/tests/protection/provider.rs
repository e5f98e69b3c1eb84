//! OpenID Connect provider on loopback, and a browser with cookies and redirects.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest;
use http::{Method, StatusCode};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::world::{protect, quick};
use crate::support::authenticator::text;
use crate::support::{Got, RunningEdge, Setup, got};
use crate::trust::issuer::{SigningKey, now_s, token};

pub(super) const CLIENT: &str = "devanture";
/// Login hostname.
pub(super) const LOGIN_HOST: &str = "login.localhost";

/// State of the provider, which tests change.
pub(super) struct State {
    key: SigningKey,
    /// Groups of the person who logs in.
    pub(super) groups: Vec<String>,
    /// Claims that override the identity token's claims; a `null` removes the claim.
    pub(super) claims: BTreeMap<String, Value>,
    /// Signing key to use in place of the published key.
    pub(super) forger: Option<SigningKey>,
    /// Text appended to the redirect URL by the authorization endpoint.
    pub(super) added: String,
    /// Refuses all logins if true.
    pub(super) refuses: bool,
    /// Statuses returned for paths in place of the normal response.
    pub(super) broken: BTreeMap<&'static str, u16>,
    /// Signal that redemptions of codes wait for.
    pub(super) held: Option<Arc<Notify>>,
    /// Number of received requests to redeem a code.
    pub(super) waiting: usize,
    /// Codes by text.
    codes: BTreeMap<String, Code>,
    /// Number of attempts to redeem a code.
    pub(super) redeemed: usize,
}

struct Code {
    redirect: String,
    challenge: String,
    nonce: Option<String>,
}

/// Provider, ended on drop.
pub(super) struct Provider {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            key: SigningKey::new("EdDSA"),
            groups: vec!["web".to_owned()],
            claims: BTreeMap::new(),
            forger: None,
            added: String::new(),
            refuses: false,
            broken: BTreeMap::new(),
            held: None,
            waiting: 0,
            codes: BTreeMap::new(),
            redeemed: 0,
        }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, address, Arc::clone(&shared)));
            }
        });
        Self { address, state, task }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Edge with the provider, and the apps `shop` and `blog`.
    pub(super) fn setup(&self) -> Setup {
        quick()
            .with_app("blog", &[("index.html", b"the blog")])
            .with_limit("identity_fetch_pause_ms_min", 100)
            .with_limit("login_attempts_per_address_max", 10_000)
            .with_toml(&format!(
                "\n[names]\nlogin = \"{LOGIN_HOST}\"\n[oidc]\nissuer = \"http://{}\"\nclient_id = \"{CLIENT}\"\n\
                 [[oidc.groups]]\ngroup = \"web\"\nrole = \"viewer\"\napps = [\"shop\", \"blog\"]\n\
                 [[oidc.groups]]\ngroup = \"shops\"\nrole = \"developer\"\napps = [\"shop\"]\n\
                 [[oidc.groups]]\ngroup = \"platform\"\nrole = \"ops\"\n",
                self.address
            ))
    }
}

async fn serve(mut stream: TcpStream, address: SocketAddr, state: Arc<Mutex<State>>) {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if !stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
            return;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    while bytes.len() < head_end + length.unwrap_or(0) {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let line = String::from_utf8(bytes.clone()).unwrap();
    let target = line.split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = String::from_utf8(bytes[head_end..].to_vec()).unwrap();
    if path == "/token" {
        let held = {
            let mut state = state.lock().unwrap();
            state.waiting += 1;
            state.held.clone()
        };
        if let Some(held) = held {
            held.notified().await;
        }
    }
    let answer = state.lock().unwrap().answer(address, path, query, &body);
    stream.write_all(answer.as_bytes()).await.ok();
}

impl State {
    fn answer(&mut self, address: SocketAddr, path: &str, query: &str, body: &str) -> String {
        let issuer = format!("http://{address}");
        let of = |status: u16, fields: &str, body: &str| {
            let length = body.len();
            format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\nconnection: close\r\n{fields}\r\n{body}")
        };
        if let Some(status) = self.broken.get(path) {
            return of(*status, &broken_fields(*status), "");
        }
        match path {
            "/.well-known/openid-configuration" => {
                let document = json!({
                    "issuer": issuer,
                    "jwks_uri": format!("{issuer}/keys"),
                    "authorization_endpoint": format!("{issuer}/authorize?tenant=a"),
                    "token_endpoint": format!("{issuer}/token"),
                });
                of(200, "", &document.to_string())
            }
            "/keys" => of(200, "", &json!({ "keys": [self.key.jwk("k1")] }).to_string()),
            "/authorize" => of(302, &format!("location: {}\r\n", self.authorized(query)), ""),
            "/token" => match self.token(&issuer, body) {
                Some(answer) => of(200, "content-type: application/json\r\n", &answer.to_string()),
                None => of(400, "", &json!({ "error": "invalid_grant" }).to_string()),
            },
            _ => of(404, "", ""),
        }
    }

    /// Redirect URL of an authorization; panics for a request that the edge does not send.
    fn authorized(&mut self, query: &str) -> String {
        let query = pairs(query);
        assert_eq!(query["tenant"], "a");
        assert_eq!((query["response_type"].as_str(), query["client_id"].as_str()), ("code", CLIENT));
        assert_eq!(
            (query["scope"].as_str(), query["code_challenge_method"].as_str()),
            ("openid profile email", "S256")
        );
        let redirect = &query["redirect_uri"];
        let rest = redirect.strip_prefix(&format!("https://{LOGIN_HOST}:")).unwrap();
        assert!(rest.ends_with("/.well-known/devanture/callback"), "only this address is registered: {redirect}");
        let state = &query["state"];
        if self.refuses {
            return format!("{redirect}?error=access_denied&state={state}");
        }
        let code = format!("code {}&=/", self.codes.len());
        let encoded = code.replace(' ', "%20").replace('&', "%26").replace('=', "%3D");
        let kept = Code {
            redirect: redirect.clone(),
            challenge: query["code_challenge"].clone(),
            nonce: query.get("nonce").cloned(),
        };
        self.codes.insert(code, kept);
        format!("{redirect}?code={encoded}&state={state}{}", self.added)
    }

    /// Redeems a code once, with the matching verifier.
    fn token(&mut self, issuer: &str, body: &str) -> Option<Value> {
        self.redeemed += 1;
        let form = pairs(body);
        assert_eq!((form["grant_type"].as_str(), form["client_id"].as_str()), ("authorization_code", CLIENT));
        let code = self.codes.remove(&form["code"])?;
        let challenge = text(digest::digest(&digest::SHA256, form["code_verifier"].as_bytes()).as_ref());
        if code.challenge != challenge || code.redirect != form["redirect_uri"] {
            return None;
        }
        let mut claims = json!({
            "iss": issuer,
            "aud": CLIENT,
            "sub": "248289761001",
            "iat": now_s(),
            "exp": now_s() + 300,
            "nonce": code.nonce,
            "groups": self.groups,
        });
        for (name, value) in &self.claims {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let key = self.forger.as_ref().unwrap_or(&self.key);
        let id_token = token(&json!({ "alg": "EdDSA", "kid": "k1" }), &claims, |bytes| key.sign("EdDSA", bytes));
        Some(json!({ "access_token": "a", "token_type": "Bearer", "id_token": id_token }))
    }
}

/// A busy provider sends `Retry-After`.
fn broken_fields(status: u16) -> String {
    let retry = if status == 429 { "retry-after: 60\r\n" } else { "" };
    format!("location: http://192.0.2.1/\r\n{retry}")
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// Browser of one person.
pub(super) struct Browser<'e> {
    edge: &'e RunningEdge,
    /// Cookies by host and name.
    pub(super) jar: BTreeMap<String, BTreeMap<String, String>>,
}

impl<'e> Browser<'e> {
    pub(super) fn new(edge: &'e RunningEdge) -> Self {
        Self { edge, jar: BTreeMap::new() }
    }

    /// URL of a path at a host of the edge.
    pub(super) fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.edge.https().port())
    }

    /// Opens a URL without following redirects.
    pub(super) async fn open(&mut self, url: &str) -> Got {
        let request = self.edge.client().request(Method::GET, url);
        self.send(url, request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document")).await
    }

    /// Sends a form from a page of the same host, without following redirects.
    pub(super) async fn submit(&mut self, url: &str, form: &str) -> Got {
        let request = self.edge.client().request(Method::POST, url).header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
        self.send(url, request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document")).await
    }

    /// Sends a request with the cookies of the host, and stores the cookies of the response.
    pub(super) async fn send(&mut self, url: &str, request: RequestBuilder) -> Got {
        let host = url.split("//").nth(1).unwrap().split([':', '/']).next().unwrap().to_owned();
        let own = self.jar.entry(host.clone()).or_default();
        let cookies: Vec<String> = own.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = request.header("accept", "text/html");
        let request = if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) };
        let answer = got(request).await;
        for set in answer.headers.get_all("set-cookie") {
            let set = set.to_str().unwrap();
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            assert!(name.starts_with("__Host-Http-devanture-"), "{set}");
            for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax", "Max-Age="] {
                assert!(set.contains(attribute), "{set}");
            }
            assert!(!set.to_ascii_lowercase().contains("domain"), "{set}");
            if set.contains("Max-Age=0;") {
                own.remove(name);
            } else {
                own.insert(name.to_owned(), value.to_owned());
            }
        }
        if host != "127.0.0.1" && answer.status == StatusCode::SEE_OTHER {
            assert_eq!((answer.header("cache-control"), answer.header("referrer-policy")), ("no-store", "no-referrer"));
        }
        answer
    }

    /// Opens a URL and follows redirects until `is_there` accepts the next URL, or until a response is no redirect.
    /// Returns the unopened URL and the last response.
    pub(super) async fn follow(&mut self, url: &str, is_there: impl Fn(&str) -> bool) -> (String, Got) {
        let mut url = url.to_owned();
        for _ in 0..10 {
            let answer = self.open(&url).await;
            if !answer.status.is_redirection() {
                return (url, answer);
            }
            let to = answer.header("location").to_owned();
            let origin = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            url = if to.starts_with('/') { format!("{origin}{to}") } else { to };
            if is_there(&url) {
                return (url, answer);
            }
        }
        panic!("too many redirects: {url}");
    }

    /// Logs in at a host to see a path.
    pub(super) async fn log_in(&mut self, host: &str, to: &str) -> Got {
        let url = self.url(host, &format!("/.well-known/devanture/login?to={to}"));
        self.follow(&url, |_| false).await.1
    }

    /// Starts a login at a host, and stops before the URL that contains `part`.
    pub(super) async fn stop_at(&mut self, host: &str, part: &str) -> String {
        let url = self.url(host, "/.well-known/devanture/login?to=%2F");
        let (url, answer) = self.follow(&url, |url| url.contains(part)).await;
        assert!(url.contains(part), "{url}: {}", answer.text());
        url
    }
}

/// Protects `prod` and the previews of the app `shop`.
pub(super) async fn protect_both(edge: &RunningEdge) {
    for place in ["preview", "prod"] {
        let set = protect(edge, place, json!({ "mode": "oidc" })).await;
        assert_eq!(set.status, StatusCode::OK, "{}", set.text());
    }
}
