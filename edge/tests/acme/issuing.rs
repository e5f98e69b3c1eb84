//! Issuing a certificate for a name.

use std::os::unix::fs::PermissionsExt as _;

use devanture_config::api::{CertificateSource, HostnameList, HostnameSet};
use http::{Method, StatusCode};

use crate::acme::pebble::PebbleOptions;
use crate::acme::tls::shake;
use crate::acme::world::{wait_for, world, write};
use crate::support::got;

const HSTS: &str = "strict-transport-security";

/// Run once per challenge type.
async fn a_hostname_gets_its_certificate(challenges: &'static [&'static str]) {
    let Some(world) = world().with_challenges(challenges).start().await else { return };
    // The authority is unreachable so far: visitors are served nevertheless, without HSTS.
    world.authority.shut();
    world.push("shop", &["www.customer.test"]).await;
    let before = world.shown("www.customer.test").await;
    assert!(before.is_local(), "{before:?}");
    let answer = world.edge.get("www.customer.test", "/").await;
    assert_eq!((answer.text().as_str(), answer.header(HSTS)), ("shop", ""));

    world.authority.open(world.pebble.address);
    let shown = world.issued("www.customer.test").await;
    assert_eq!((shown.names.len(), shown.others), (1, 1), "{shown:?}");
    assert!(shown.names[0].contains("www.customer.test"), "{shown:?}");
    let answer = world.visit("www.customer.test").await.unwrap();
    assert_eq!((answer.text().as_str(), answer.header(HSTS)), ("shop", "max-age=86400"));
    assert_eq!(world.pebble.accounts(), 1);

    let files = world.files();
    assert!(files.len() > 2, "{files:?}");
    for file in files {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    world.edge.stop().await;
}

#[tokio::test]
async fn a_hostname_is_proven_by_http_01() {
    a_hostname_gets_its_certificate(&["http-01"]).await;
}

#[tokio::test]
async fn a_hostname_is_proven_by_tls_alpn_01() {
    a_hostname_gets_its_certificate(&["tls-alpn-01"]).await;
}

#[tokio::test]
async fn an_environment_and_an_alias_get_theirs_and_a_versions_own_hostname_does_not() {
    let Some(world) = world().start().await else { return };
    world.push("shop", &[]).await;
    let version = world.edge.live("shop").await.unwrap();
    let alias = got(world
        .edge
        .api(Method::PUT, "/v1/apps/shop/aliases/feature")
        .json(&serde_json::json!({"version": version})));
    assert!(alias.await.status.is_success());
    for name in ["shop.apps.test", "feature--shop.apps.test"] {
        world.issued(name).await;
        assert_eq!(world.visit(name).await.unwrap().text(), "shop");
    }
    let preview = format!("{}--shop.apps.test", version.short());
    assert!(world.shown(&preview).await.is_local());
    assert_eq!(world.edge.get(&preview, "/").await.text(), "shop");
    // A name without a site is refused, and no order is made.
    assert!(shake(world.edge.https(), "nobody.apps.test", &["h2"]).await.is_err());
    assert_eq!(world.pebble.orders(), 2, "{}", world.pebble.log());
    // Clients of the API trust the local authority.
    assert!(crate::acme::tls::shown(world.edge.admin(), "shop.apps.test").await.is_local());
    world.edge.stop().await;
}

#[tokio::test]
async fn the_hostname_where_visitors_log_in_gets_its_certificate() {
    let Some(world) = world().with_tls("[names]\nlogin = \"login.apps.test\"\n").start().await else { return };
    let shown = world.issued("login.apps.test").await;
    assert!(shown.names[0].contains("login.apps.test"), "{shown:?}");
    let answer = world.visit("login.apps.test").await.unwrap();
    assert_eq!((answer.status, world.pebble.orders()), (StatusCode::NOT_FOUND, 1));
    // The login page takes passwords, and from now on only over TLS.
    let page = world.visit_at("login.apps.test", "/.well-known/devanture/login").await.unwrap();
    assert_eq!((page.status, page.header(HSTS)), (StatusCode::UNAUTHORIZED, "max-age=86400"));
    world.edge.stop().await;
}

#[tokio::test]
async fn a_file_comes_first_for_the_names_that_it_covers() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["*.apps.test".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("wild.pem"), folder.path().join("wild.key"));
    write(&certificate, &made.cert.pem());
    write(&key, &made.signing_key.serialize_pem());
    let tls = format!("certificate = {certificate:?}\nkey = {key:?}\n");
    let Some(world) = world().with_tls(&tls).start().await else { return };
    world.push("shop", &["www.customer.test"]).await;
    world.issued("www.customer.test").await;
    let path = "/v1/apps/shop/environments/prod/hostnames";
    let added = got(world.edge.api(Method::PUT, &format!("{path}/mine.apps.test"))).await.json::<HostnameSet>();
    assert_eq!(added.hostname.certificate.unwrap().source, CertificateSource::File);
    let list: HostnameList = got(world.edge.api(Method::GET, path)).await.json();
    let sources: Vec<_> = list.hostnames.iter().map(|one| one.certificate.map(|one| one.source)).collect();
    assert_eq!(sources, [Some(CertificateSource::File), Some(CertificateSource::Acme)]);
    let now_ms = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    assert!(list.hostnames.iter().all(|one| one.certificate.unwrap().expires_ms > now_ms), "{list:?}");
    let version = world.edge.live("shop").await.unwrap();
    let preview = format!("{}--shop.apps.test", version.short());
    for name in ["shop.apps.test", &preview, "nobody.apps.test"] {
        let shown = world.shown(name).await;
        assert!(shown.names[0].contains("*.apps.test"), "{name}: {shown:?}");
    }
    assert!(crate::acme::tls::shown(world.edge.admin(), "edge.apps.test").await.names[0].contains("*.apps.test"));
    assert!(crate::acme::tls::shown(world.edge.admin(), "localhost").await.is_local());
    assert_eq!(world.pebble.orders(), 1);

    // The certificate file is read again after a change, as without ACME.
    let made = rcgen::generate_simple_self_signed(vec!["*.apps.test".to_owned(), "other.test".to_owned()]).unwrap();
    write(&certificate, &made.cert.pem());
    write(&key, &made.signing_key.serialize_pem());
    wait_for("the new file is shown", async || world.shown("shop.apps.test").await.names.len() == 2).await;
    world.edge.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_certificate_and_account() {
    let Some(world) = world().start().await else { return };
    world.push("shop", &["one.customer.test"]).await;
    let first = world.issued("one.customer.test").await;
    world.issued("shop.apps.test").await;
    let world = world.restart().await;
    assert_eq!(world.shown("one.customer.test").await, first);
    // A second order of the first certificate would have preceded the order below.
    world.push("shop", &["one.customer.test", "two.customer.test"]).await;
    world.issued("two.customer.test").await;
    assert_eq!(world.shown("one.customer.test").await, first);
    assert_eq!((world.pebble.orders(), world.pebble.accounts()), (3, 1));
    world.edge.stop().await;
}

#[tokio::test]
async fn an_account_is_bound_to_one_at_the_authority() {
    let manner = PebbleOptions { binding: true, ..PebbleOptions::default() };
    let Some(world) = world().with_authority(manner).start().await else { return };
    world.push("shop", &["www.customer.test"]).await;
    world.issued("www.customer.test").await;
    world.edge.stop().await;
}

#[tokio::test]
async fn nonces_that_are_refused_do_no_harm() {
    let manner = PebbleOptions { refused_nonces: 30, ..PebbleOptions::default() };
    let Some(world) = world().with_authority(manner).start().await else { return };
    world.push("shop", &["www.customer.test"]).await;
    world.issued("www.customer.test").await;
    world.edge.stop().await;
}

#[tokio::test]
async fn a_proof_is_shown_to_nobody_who_was_not_promised_it() {
    let Some(world) = world().start().await else { return };
    world.push("shop", &["www.customer.test"]).await;
    world.issued("www.customer.test").await;
    let path = "/.well-known/acme-challenge/a-token";
    let answer = world.plain("www.customer.test", path).await;
    assert_eq!(answer.status, StatusCode::PERMANENT_REDIRECT);
    assert!(answer.header("location").ends_with(path));
    assert_eq!(world.plain("nobody.test", path).await.status, StatusCode::NOT_FOUND);
    // RFC 8737 §4: without a challenge in flight, the protocol is refused.
    assert!(shake(world.edge.https(), "www.customer.test", &["acme-tls/1"]).await.is_err());
    assert!(shake(world.edge.https(), "www.customer.test", &["acme-tls/1", "h2"]).await.unwrap().is_issued());
    world.edge.stop().await;
}
