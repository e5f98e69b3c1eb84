//! Tests beyond `pebble`: an authority with rate limits, and an authority with renewal information.

use std::convert::Infallible;

use bytes::Bytes;
use devanture_config::limits::Limits;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::duty::Ordering;
use super::renewer::{CertificateRenewer, Served};
use super::schedule::Ended;
use super::store::{KeptAccount, Store as _};
use super::*;

/// Answer of an authority to a path.
type Answers = fn(&str) -> Response<Full<Bytes>>;

/// Minimal authority over HTTPS, and its account.
struct World {
    folder: tempfile::TempDir,
    acme: Acme,
    ordering: Ordering,
    requested: Arc<Mutex<Vec<String>>>,
}

impl World {
    async fn start(answers: Answers) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(identity(folder.path()));
        let requested = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&requested);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let service = service_fn(|request: Request<hyper::body::Incoming>| {
                    let path = request.uri().path().to_owned();
                    seen.lock().push(path.clone());
                    let url = |path: &str| format!("https://{address}{path}");
                    let directory = json!({
                        "newNonce": url("/nonce"), "newAccount": url("/account"), "newOrder": url("/order"),
                        "renewalInfo": url("/renewal"),
                    });
                    let response = match path.as_str() {
                        "/dir" => Response::new(Full::new(directory.to_string().into())),
                        "/nonce" => Response::builder().header("replay-nonce", "n").body(Full::default()).unwrap(),
                        path => answers(path),
                    };
                    async move { Ok::<_, Infallible>(response) }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                builder.serve_connection(TokioIo::new(stream), service).await.ok();
            }
        });
        let settings = Settings {
            ca: Some("roots.pem".into()),
            challenges: vec![ChallengeKind::Http],
            contact: Vec::new(),
            directory: format!("https://{address}/dir"),
            external_account: None,
        };
        let acme = Acme::open_in(&settings, folder.path(), &folder.path().join("acme")).unwrap();
        let ordering = Ordering::new(&acme, Arc::new(acme.folder.clone()));
        Self { folder, acme, ordering, requested }
    }

    /// Adds an account from an earlier start.
    async fn with_account(self) -> Self {
        let key = KeyPair::generate().unwrap();
        let key = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, key.serialize_der());
        let directory = &self.acme.authority.directory;
        let credentials = json!({"id": "https://127.0.0.1/account/1", "key_pkcs8": key, "directory": directory});
        self.acme.folder.keep_account(&KeptAccount { contact: Vec::new(), credentials }).await.unwrap();
        self
    }

    fn requested(&self, path: &str) -> usize {
        self.requested.lock().iter().filter(|requested| requested.starts_with(path)).count()
    }
}

/// Certificate of the authority's API, and the file of its issuer.
#[expect(clippy::disallowed_methods, reason = "the file of an operator, not of the edge")]
fn identity(folder: &Path) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap();
    std::fs::write(folder.join("roots.pem"), root.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(vec![CertificateDer::from(leaf)], key).unwrap())
}

fn limited(seconds: &str) -> Response<Full<Bytes>> {
    let body = json!({"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}).to_string();
    let response = Response::builder().status(429).header("retry-after", seconds);
    response.body(Full::new(body.into())).unwrap()
}

/// Key and certificate by an authority for a name, valid for 90 days from now.
fn issued(name: &str) -> String {
    let root = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(params, root);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    params.not_before =
        time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(devanture_base::clock::now_ms()) * 1_000_000)
            .unwrap();
    params.not_after = params.not_before + time::Duration::days(90);
    key.serialize_pem() + &params.signed_by(&key, &issuer).unwrap().pem()
}

#[tokio::test]
async fn an_authority_that_wants_no_more_accounts_is_left_alone_as_a_whole() {
    let world = World::start(|path| match path {
        "/account" => limited("7200"),
        other => panic!("{other}"),
    })
    .await;
    let failure = world.ordering.accounts.account().await.err().unwrap();
    assert_eq!(failure.ended, Ended::Unanswered { retry_after_ms: 7_200_000 });
    assert_eq!(failure.outcome, "rate_limited");
    assert!(failure.reason.contains("7200 s: too many"), "{}", failure.reason);
    assert!(world.acme.folder.account().await.unwrap().is_none());
}

#[tokio::test]
async fn an_authority_that_wants_no_more_orders_for_a_name_is_left_alone_about_it() {
    let world = World::start(|path| match path {
        "/order" => limited("60"),
        other => panic!("{other}"),
    })
    .await
    .with_account()
    .await;
    let account = world.ordering.accounts.account().await.unwrap();
    let request = order::OrderRequest { name: "a.example", ways: vec![ChallengeKind::Http], replaces: None };
    let failure = order::obtain(&account, (&world.acme.challenges, &world.acme.folder), request).await.unwrap_err();
    assert_eq!(
        (failure.ended, failure.outcome),
        (Ended::Failed { retry_after_ms: 60_000, unproven: false }, "rate_limited")
    );
}

#[tokio::test]
async fn an_account_that_the_authority_does_not_know_is_given_up() {
    let world = World::start(|path| match path {
        "/order" => {
            let body = json!({"type": "urn:ietf:params:acme:error:accountDoesNotExist"}).to_string();
            Response::builder().status(400).body(Full::new(body.into())).unwrap()
        }
        other => panic!("{other}"),
    })
    .await
    .with_account()
    .await;
    let account = world.ordering.accounts.account().await.unwrap();
    let request = order::OrderRequest { name: "a.example", ways: vec![ChallengeKind::Http], replaces: None };
    let failure = order::obtain(&account, (&world.acme.challenges, &world.acme.folder), request).await.unwrap_err();
    assert!(world.acme.folder.account().await.unwrap().is_some());
    world.ordering.accounts.close(&failure.source.unwrap()).await;
    assert!(world.acme.folder.account().await.unwrap().is_none());
}

/// The keeper requests renewal information, and orders at once if a certificate is to be replaced, for example before
/// its revocation (RFC 9773 §4.2).
#[tokio::test]
async fn a_certificate_is_replaced_as_soon_as_the_authority_wants_that() {
    const NAME: &str = "a.example";
    let world = World::start(|path| match path {
        "/order" => limited("60"),
        path if path.starts_with("/renewal/") => {
            let window = json!({"suggestedWindow": {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}});
            Response::builder().header("retry-after", "21600").body(Full::new(window.to_string().into())).unwrap()
        }
        other => panic!("{other}"),
    })
    .await
    .with_account()
    .await;
    let pem = issued(NAME);
    world.acme.folder.keep_certificate(NAME, &pem).await.unwrap();
    let held = IssuedCertificate::read_for(NAME, NAME.as_ref(), &pem, &provider()).unwrap();
    assert!(!held.life.is_due(held.spread, None, devanture_base::clock::now_ms()));
    world.acme.hold(NAME, &Arc::new(held));
    let World { acme, requested, folder, .. } = world;
    let served = Served {
        names: Box::new(|| vec![(Some("shop".parse().unwrap()), NAME.to_owned())]),
        serves: Arc::new(|_| true),
        on_trouble: Box::new(|_| {}),
    };
    let keeper = CertificateRenewer::new(Arc::new(acme), served, &Limits::default(), None);
    let task = tokio::spawn(keeper.keep());
    let world = || requested.lock().iter().filter(|path| *path == "/order").count();
    for _ in 0..1_000 {
        if world() > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    task.abort();
    assert_eq!(world(), 1);
    drop(folder);
}

#[tokio::test]
async fn a_certificate_that_the_edge_before_had_issued_meanwhile_is_served_and_not_ordered_again() {
    const NAME: &str = "a.example";
    for is_noted in [false, true] {
        let World { acme, requested, folder: _folder, .. } = World::start(|_| limited("60")).await;
        let pem = issued(NAME);
        if is_noted {
            let (rules, now_ms) = (schedule::Rules::new(&Limits::default()), devanture_base::clock::now_ms());
            let life = IssuedCertificate::read_for(NAME, NAME.as_ref(), &pem, &provider()).unwrap().life;
            let mut books = schedule::Books::default();
            books.end(NAME, Ended::Issued { life }, &rules, now_ms);
            acme.folder.keep_books(&books).await.unwrap();
        }
        acme.folder.keep_certificate(NAME, &pem).await.unwrap();
        let served = Served {
            names: Box::new(|| vec![(Some("shop".parse().unwrap()), NAME.to_owned())]),
            serves: Arc::new(|_| true),
            on_trouble: Box::new(|_| {}),
        };
        let acme = Arc::new(acme);
        assert!(!acme.holds(NAME));
        let task = tokio::spawn(CertificateRenewer::new(Arc::clone(&acme), served, &Limits::default(), None).keep());
        for _ in 0..1_000 {
            if acme.holds(NAME) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        task.abort();
        assert!(acme.holds(NAME), "{is_noted}");
        assert!(!requested.lock().iter().any(|path| path == "/order"), "{is_noted}");
    }
}

/// The name was removed while the account was fetched.
#[tokio::test]
async fn nothing_is_ordered_for_a_name_that_is_not_served_any_more() {
    let world = World::start(|other| panic!("{other}")).await.with_account().await;
    let failure =
        renewer::order((&world.acme, &world.ordering), "a.example", vec![ChallengeKind::Http], None, &|_| false).await;
    assert_eq!(failure.unwrap_err().ended, Ended::Dropped);
    assert_eq!((world.requested("/dir"), world.requested("/order")), (1, 0));
    assert!(world.folder.path().exists());
}
