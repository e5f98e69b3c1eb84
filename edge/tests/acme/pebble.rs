//! `pebble` on loopback.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::eventually;

/// Behavior of the authority.
#[derive(Clone, Copy)]
pub(crate) struct PebbleOptions {
    /// Validity of issued certificates, in seconds.
    pub(crate) validity_s: u64,
    /// Percentage of valid nonces to refuse.
    pub(crate) refused_nonces: u8,
    /// Requires external account binding, see [`KEY_ID`].
    pub(crate) binding: bool,
}

impl Default for PebbleOptions {
    fn default() -> Self {
        Self { validity_s: 90 * 24 * 3_600, refused_nonces: 0, binding: false }
    }
}

/// Id of the key for external account binding, and the key.
pub(crate) const KEY_ID: &str = "kid-1";
pub(crate) const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// Running `pebble`, ended on drop.
pub(crate) struct Pebble {
    pub(crate) address: SocketAddr,
    management: SocketAddr,
    log: Arc<Mutex<String>>,
    _child: Child,
}

/// Returns true if `pebble` is installed. Otherwise prints the skipped subject, or fails where every tool is required.
pub(crate) fn is_installed() -> bool {
    let found = std::process::Command::new("pebble").arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return true;
    }
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(!is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "pebble is not installed");
    eprintln!("left out: pebble is not installed");
    false
}

/// Writes the API certificate and the trusted root: `api.pem`, `api.key`, `roots.pem`.
#[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
pub(crate) fn write_certificate(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join("api.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("api.key"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("roots.pem"), root.pem()).unwrap();
}

impl Pebble {
    /// Starts `pebble` with the certificate in `folder`. Challenges are validated on the ports `http` and `tls`, at the
    /// addresses that `dns` returns.
    pub(crate) async fn start(folder: &Path, dns: SocketAddr, http: u16, tls: u16, manner: PebbleOptions) -> Self {
        // `pebble` never reports a port chosen by the system. Two free ports are chosen here, and again if another
        // process takes a port first.
        for _ in 0..10 {
            if let Some(pebble) = Self::try_start(folder, dns, http, tls, manner).await {
                return pebble;
            }
        }
        panic!("pebble does not start");
    }

    #[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
    async fn try_start(folder: &Path, dns: SocketAddr, http: u16, tls: u16, manner: PebbleOptions) -> Option<Self> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, management) = {
            let (one, two) = (free(), free());
            (one.local_addr().unwrap(), two.local_addr().unwrap())
        };
        let config = serde_json::json!({"pebble": {
            "listenAddress": address.to_string(), "managementListenAddress": management.to_string(),
            "certificate": folder.join("api.pem"), "privateKey": folder.join("api.key"),
            "httpPort": http, "tlsPort": tls, "ocspResponderURL": "",
            "externalAccountBindingRequired": manner.binding, "externalAccountMACKeys": {KEY_ID: KEY},
            "certificateValidityPeriod": manner.validity_s,
        }});
        let path = folder.join(format!("pebble-{}.json", address.port()));
        std::fs::write(&path, config.to_string()).unwrap();
        let mut child = Command::new("pebble")
            .arg("-config")
            .arg(&path)
            .args(["-strict", "-dnsserver", &dns.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", manner.refused_nonces.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::<Mutex<String>>::default();
        let (lines, written) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(&log));
        tokio::spawn(async move {
            let mut lines = lines;
            while let Ok(Some(line)) = lines.next_line().await {
                writeln!(written.lock().unwrap(), "{line}").unwrap();
            }
        });
        let mut ended = false;
        eventually("pebble has started, or ended", async || {
            ended = child.try_wait().unwrap().is_some();
            let listens = async |address: SocketAddr| tokio::net::TcpStream::connect(address).await.is_ok();
            ended || listens(address).await && listens(management).await
        })
        .await;
        (!ended).then_some(Self { address, management, log, _child: child })
    }

    /// Root of the issued certificates, in PEM.
    pub(crate) async fn root(&self, folder: &Path) -> Vec<u8> {
        let pem = std::fs::read(folder.join("roots.pem")).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]);
        let client = client.no_proxy().build().unwrap();
        let answer = client.get(format!("https://{}/roots/0", self.management)).send().await.unwrap();
        answer.bytes().await.unwrap().to_vec()
    }

    /// Number of requests for a log entry's subject.
    fn count(&self, what: &str) -> usize {
        self.log.lock().unwrap().lines().filter(|line| line.contains(what)).count()
    }

    /// Number of orders received.
    pub(crate) fn orders(&self) -> usize {
        self.count(" orders in the db")
    }

    /// Number of accounts created.
    pub(crate) fn accounts(&self) -> usize {
        self.count(" accounts in memory")
    }

    /// Output of the process, for the analysis of failed tests.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}
