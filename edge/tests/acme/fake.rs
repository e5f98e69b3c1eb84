//! Fake ACME authority that misbehaves in one chosen way and otherwise issues certificates.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair, SanType,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Kinds of misbehavior.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FakeBehavior {
    /// No misbehavior, but also no validation of challenges.
    None,
    /// Responses other than JSON.
    Garbage,
    /// Endless response body.
    EndlessBody,
    /// Endless response head.
    EndlessHead,
    /// Endless interim responses.
    EndlessInterim,
    /// One byte at a time.
    Drip,
    /// Every URL redirects to itself.
    Redirects,
    /// Directory with the given `newNonce` URL.
    NewNonce(&'static str),
    /// Pending orders with the given `Retry-After`.
    Wait(&'static str),
    /// Only refusals with the given `Retry-After`.
    LeaveAlone(&'static str),
    /// Challenges with the given token.
    Token(&'static str),
    /// Number of authorizations for each order.
    Authorizations(usize),
    /// Authorizations for another name.
    AnotherAuthorization,
    /// Problem document with a detail of a megabyte.
    LongProblem,
    /// Certificates for the given names.
    Names(&'static [&'static str]),
    /// Certificates for another key.
    AnotherKey,
    /// Chains that lead to no root.
    BrokenChain,
    /// Chains with an entry that is no certificate.
    GarbledChain,
    /// Chains of thousands of certificates.
    LongChain,
}

/// Fake authority, ended on drop.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    base: String,
    trick: Mutex<FakeBehavior>,
    orders: Mutex<HashMap<usize, Order>>,
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

#[derive(Default)]
struct Order {
    name: String,
    is_proven: bool,
    chain: Option<String>,
}

/// Common name of the issuer.
pub(crate) const ISSUER: &str = "a fake authority";
const TOKEN: &str = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";

impl Fake {
    /// Starts the authority with the API certificate in `folder`.
    pub(crate) async fn start(folder: &Path) -> Self {
        let chain = vec![CertificateDer::from_pem_file(folder.join("api.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(folder.join("api.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (issuer, root) = authority(ISSUER);
        let base = format!("https://{address}");
        let shared =
            Arc::new(Shared { base, trick: Mutex::new(FakeBehavior::None), orders: Mutex::default(), issuer, root });
        let of_connections = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&of_connections));
                tokio::spawn(async move {
                    // The edge may disconnect at any time.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        shared.serve(stream).await.ok();
                    }
                });
            }
        });
        Self { address, shared, task }
    }

    pub(crate) fn set(&self, trick: FakeBehavior) {
        *self.shared.trick.lock().unwrap() = trick;
    }
}

/// Key and certificate of an authority.
fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), root)
}

impl Shared {
    fn trick(&self) -> FakeBehavior {
        *self.trick.lock().unwrap()
    }

    /// Answers one request.
    async fn serve(&self, mut stream: TlsStream<TcpStream>) -> std::io::Result<()> {
        let (mut request, mut buffer) = (Vec::new(), vec![0; 16_384]);
        let body = loop {
            let count = stream.read(&mut buffer).await?;
            request.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&request);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                assert!(count > 0, "the request broke off");
                continue;
            };
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break body.to_owned();
            }
        };
        let text = String::from_utf8_lossy(&request);
        let path = text.split(' ').nth(1).unwrap();
        let answer = self.answer(path, &body);
        match self.trick() {
            FakeBehavior::EndlessBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nreplay-nonce: 1\r\n\r\n").await?;
                endlessly(&mut stream, &[b'x'; 65_536]).await
            }
            FakeBehavior::EndlessHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                endlessly(&mut stream, &b"x-more: and more of it\r\n".repeat(1_000)).await
            }
            FakeBehavior::EndlessInterim => {
                endlessly(&mut stream, &b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n".repeat(100)).await
            }
            FakeBehavior::Drip => {
                for byte in answer {
                    stream.write_all(&[byte]).await?;
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                }
                Ok(())
            }
            _ => {
                stream.write_all(&answer).await?;
                stream.shutdown().await
            }
        }
    }

    /// Complete response bytes.
    fn answer(&self, path: &str, body: &str) -> Vec<u8> {
        let (status, location, body) = match self.trick() {
            FakeBehavior::Garbage => ("200 OK", String::new(), "\0\u{1}<html>".to_owned()),
            FakeBehavior::Redirects => ("301 Moved Permanently", format!("{}{path}", self.base), String::new()),
            FakeBehavior::LeaveAlone(_) => ("429 Too Many Requests", String::new(), problem("rateLimited", "enough")),
            FakeBehavior::LongProblem if path != "/dir" && path != "/nonce" => {
                ("403 Forbidden", String::new(), problem("unauthorized", &"no ".repeat(300_000)))
            }
            _ => self.resource(path, body),
        };
        let mut head = format!("HTTP/1.1 {status}\r\nreplay-nonce: {TOKEN}\r\ncontent-length: {}\r\n", body.len());
        if !location.is_empty() {
            head += &format!("location: {location}\r\n");
        }
        if let FakeBehavior::Wait(wait) | FakeBehavior::LeaveAlone(wait) = self.trick() {
            head += &format!("retry-after: {wait}\r\n");
        }
        (head + "connection: close\r\n\r\n" + &body).into_bytes()
    }

    /// Resource at a path: status, location and body.
    fn resource(&self, path: &str, body: &str) -> (&'static str, String, String) {
        let (base, trick) = (&self.base, self.trick());
        let mut parts = path.trim_start_matches('/').split('/');
        let (kind, id) = (parts.next().unwrap(), parts.next().and_then(|id| id.parse().ok()).unwrap_or(0));
        let mut orders = self.orders.lock().unwrap();
        match kind {
            "dir" => {
                let nonce = if let FakeBehavior::NewNonce(address) = trick {
                    address.to_owned()
                } else {
                    format!("{base}/nonce")
                };
                let directory = json!({
                    "newNonce": nonce, "newAccount": format!("{base}/account"), "newOrder": format!("{base}/new"),
                });
                ("200 OK", String::new(), directory.to_string())
            }
            "nonce" => ("200 OK", String::new(), String::new()),
            "account" => ("201 Created", format!("{base}/account/1"), json!({"status": "valid"}).to_string()),
            "new" => {
                let id = orders.len() + 1;
                let name = payload(body)["identifiers"][0]["value"].as_str().unwrap().to_owned();
                let order = orders.entry(id).or_insert_with(|| Order { name, ..Order::default() });
                ("201 Created", format!("{base}/order/{id}"), self.order(id, order).to_string())
            }
            "authorization" => ("200 OK", String::new(), self.authorization(id, &orders[&id]).to_string()),
            "challenge" => {
                let order = orders.get_mut(&id).unwrap();
                order.is_proven = true;
                ("200 OK", String::new(), self.authorization(id, order)["challenges"][0].to_string())
            }
            "order" => ("200 OK", String::new(), self.order(id, &orders[&id]).to_string()),
            "finalize" => {
                let csr = payload(body)["csr"].as_str().unwrap().to_owned();
                let order = orders.get_mut(&id).unwrap();
                order.chain = Some(self.issue(&csr));
                ("200 OK", String::new(), self.order(id, order).to_string())
            }
            "certificate" => ("200 OK", String::new(), orders[&id].chain.clone().unwrap()),
            _ => ("404 Not Found", String::new(), problem("malformed", path)),
        }
    }

    fn order(&self, id: usize, order: &Order) -> Value {
        let base = &self.base;
        let status = match (self.trick(), &order.chain) {
            (FakeBehavior::Wait(_), _) => "processing",
            (_, Some(_)) => "valid",
            (_, None) if order.is_proven => "ready",
            (_, None) => "pending",
        };
        let count = if let FakeBehavior::Authorizations(count) = self.trick() { count } else { 1 };
        json!({
            "status": status,
            "identifiers": [{"type": "dns", "value": order.name}],
            "authorizations": vec![format!("{base}/authorization/{id}"); count],
            "finalize": format!("{base}/finalize/{id}"),
            "certificate": format!("{base}/certificate/{id}"),
        })
    }

    fn authorization(&self, id: usize, order: &Order) -> Value {
        let token = if let FakeBehavior::Token(token) = self.trick() { token } else { TOKEN };
        let name = if self.trick() == FakeBehavior::AnotherAuthorization { "www.example.org" } else { &order.name };
        let url = format!("{}/challenge/{id}", self.base);
        let status = if order.is_proven { "valid" } else { "pending" };
        json!({
            "identifier": {"type": "dns", "value": name},
            "status": status,
            "challenges": [{"type": "http-01", "url": url, "token": token, "status": status}],
        })
    }

    /// Signs a certificate request, with the chosen misbehavior.
    fn issue(&self, csr: &str) -> String {
        let der = CertificateSigningRequestDer::from(BASE64_URL_SAFE_NO_PAD.decode(csr).unwrap());
        let mut csr = CertificateSigningRequestParams::from_der(&der).unwrap();
        if let FakeBehavior::Names(names) = self.trick() {
            let names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
            csr.params.subject_alt_names = names.collect();
        }
        let leaf = match self.trick() {
            FakeBehavior::AnotherKey => csr.params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap(),
            _ => csr.signed_by(&self.issuer).unwrap(),
        };
        let (leaf, root) = (leaf.pem(), &self.root);
        match self.trick() {
            FakeBehavior::BrokenChain => leaf + &authority("another authority").1,
            FakeBehavior::GarbledChain => {
                format!("{leaf}{root}-----BEGIN CERTIFICATE-----\nMAUCAwECAw==\n-----END CERTIFICATE-----\n")
            }
            FakeBehavior::LongChain => leaf + &root.repeat(1_000),
            _ => leaf + root,
        }
    }
}

fn problem(kind: &str, detail: &str) -> String {
    json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail}).to_string()
}

/// Payload of a signed request.
fn payload(body: &str) -> Value {
    let signed: Value = serde_json::from_str(body).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(signed["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap_or_default()
}

/// Writes the same bytes until the connection ends.
async fn endlessly(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes).await?;
    }
}
