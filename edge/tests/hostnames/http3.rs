//! Announcements of HTTP/3 at names with a publicly trusted certificate: by responses and by DNS.

use std::fmt::Write as _;
use std::path::Path;

use devanture_config::api::HostnameList;
use http::{Method, Version};

use super::{SITE, edge};
use crate::support::{RunningEdge, got};

/// Name with a certificate, and name without.
const NAME: &str = "www.customer.test";
const LOCAL: &str = "local.customer.test";

/// Writes a certificate authority, and a certificate for [`NAME`] alone.
#[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
fn certificates(folder: &Path) -> reqwest::Certificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join("www.pem"), leaf.pem()).unwrap();
    std::fs::write(folder.join("www.key"), key.serialize_pem()).unwrap();
    reqwest::Certificate::from_pem(ca.as_bytes()).unwrap()
}

/// Edge whose ACME authority is unreachable, with a certificate file for [`NAME`].
async fn start(folder: &Path, listen: &str) -> RunningEdge {
    let mut tls = "mode = \"acme\"\n".to_owned();
    writeln!(tls, "certificate = {:?}\nkey = {:?}", folder.join("www.pem"), folder.join("www.key")).unwrap();
    tls.push_str("[acme]\nterms_agreed = true\ndirectory = \"https://127.0.0.1:1/\"\n");
    let edge = edge().with_domain("apps.test").with_tls(&tls).with_listen(listen).with_app("shop", SITE).start().await;
    for name in [NAME, LOCAL] {
        let path = format!("/v1/apps/shop/environments/prod/hostnames/{name}");
        let added = got(edge.api(Method::PUT, &path).json(&serde_json::json!({"canonical": false}))).await;
        assert!(added.status.is_success(), "{}", added.text());
    }
    edge
}

#[tokio::test]
async fn http3_is_announced_by_answers_and_records_where_it_is_served_and_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let ca = certificates(folder.path());
    for (listen, expected, record) in [
        ("", "h3=\":PORT\"; ma=86400", "_PORT._https.NAME. 3600 IN HTTPS 1 NAME. alpn=\"h3,h2\""),
        ("public_port = 443", "h3=\":443\"; ma=86400", "NAME. 3600 IN HTTPS 1 . alpn=\"h3,h2\""),
        ("http3 = false", "clear", ""),
    ] {
        let edge = start(folder.path(), listen).await;
        let of_this = |text: &str| text.replace("PORT", &edge.https().port().to_string()).replace("NAME", NAME);
        let client = || reqwest::Client::builder().tls_certs_only([ca.clone()]).no_proxy().resolve(NAME, edge.https());
        for (client, version) in [(client(), Version::HTTP_2), (client().http1_only(), Version::HTTP_11)] {
            let client = client.redirect(reqwest::redirect::Policy::none()).build().unwrap();
            for (path, status) in [("/", 200), ("/missing", 404)] {
                let url = format!("https://{NAME}:{}{path}", edge.https().port());
                let answer = client.get(url).send().await.unwrap();
                assert_eq!((answer.version(), answer.status().as_u16()), (version, status), "{listen}");
                assert_eq!(answer.headers()["alt-svc"], of_this(expected), "{listen}");
            }
        }
        for name in [LOCAL, "shop.apps.test"] {
            assert_eq!(edge.get(name, "/").await.header("alt-svc"), "", "{listen} {name}");
        }
        let path = "/v1/apps/shop/environments/prod/hostnames";
        let list: HostnameList = got(edge.api(Method::GET, path)).await.json();
        let records: Vec<&String> = list.hostnames.iter().flat_map(|name| &name.https_records).collect();
        let expected: Vec<String> = Some(of_this(record)).into_iter().filter(|record| !record.is_empty()).collect();
        assert_eq!(records, expected.iter().collect::<Vec<_>>(), "{listen}");
        edge.stop().await;
    }
}
