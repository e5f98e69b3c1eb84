//! Routes and pool members that lead to protected addresses of the edge's network, in any spelling.
//!
//! `edge/tests/proxy/dns.rs` tests refusals at connection time, after a DNS name changed.

use devanture_config::api::Scope;
use devanture_config::site_toml::UpstreamUrl;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::attacks::world::push;
use crate::support::{RunningEdge, edge, got, manifest};

/// Forbidden for everyone, whatever the configuration.
const NEVER: [&str; 27] = [
    "http://169.254.169.254",
    "http://169.254.1.1:80",
    "http://100.100.100.200",
    "http://0.0.0.0:80",
    "http://255.255.255.255",
    "http://224.0.0.1",
    // Other spellings that the URL Standard reads as IPv4 addresses (§3.5).
    "http://2852039166",
    "http://0xa9fea9fe",
    "http://0251.0376.0251.0376",
    "http://169.254.43518",
    "http://169\u{3002}254\u{ff0e}169\u{ff61}254",
    "http://\u{2460}\u{2465}\u{2468}.254.169.254",
    "http://169.254.169.254.",
    // IPv4 addresses in IPv6 addresses: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP.
    "http://[::ffff:169.254.169.254]",
    "http://[::169.254.169.254]",
    "http://[::ffff:0:169.254.169.254]",
    "http://[64:ff9b::169.254.169.254]",
    "http://[2002:a9fe:a9fe::1]",
    "http://[2001:0:808:808::5601:5601]",
    "http://[2606:4700::5efe:169.254.169.254]",
    "http://[::ffff:0.0.0.0]",
    // IPv6 addresses proper.
    "http://[::]:80",
    "http://[fe80::1]",
    "http://[ff02::1]",
    "http://[fd00:ec2::254]",
    "http://[fd00:c1::a9fe:a9fe]",
    "http://[fd00:42::42]",
];

/// Allowed for an admin of every app, or by `edge.toml`.
const PRIVATE: [&str; 13] = [
    "http://127.0.0.1:3000",
    "http://127.1:3001",
    "http://10.0.0.1",
    "http://192.168.1.1",
    "http://[::1]:3000",
    "http://[::ffff:127.0.0.1]:3002",
    "http://[::ffff:10.0.0.1]",
    "http://[64:ff9b::10.0.0.1]",
    "http://[2002:a00:1::1]",
    "http://[2606:4700::200:5efe:10.0.0.1]",
    "http://[fd12:3456::1]",
    "http://[fec0::1]",
    "http://localhost:3000",
];

/// Allowed by `edge.toml`.
const RESERVED: [&str; 6] = [
    "http://192.0.2.1",
    "http://198.18.0.1",
    "http://[2001:db8::1]",
    "http://[100::1]",
    "http://[64:ff9b:1::a00:1]",
    "http://[::ffff:192.0.2.1]",
];

/// Allowed for everyone; the test makes no connection.
const PUBLIC: [&str; 4] =
    ["http://8.8.8.8", "http://[2606:4700::1111]", "http://[::ffff:8.8.8.8]", "http://[64:ff9b::8.8.8.8]"];

/// Response to the push of a route to `to`; a new pool member at `to` must get the same response.
pub(super) async fn answers(edge: &RunningEdge, token: &str, to: &str) -> String {
    let manifest = serde_json::to_value(manifest(&[("index.html", b"home")])).unwrap();
    let mut codes = Vec::new();
    for serving in [json!({ "routes": [{ "path": "/x", "to": to }] }), json!({ "upstreams": { "x": { "to": [to] } } })]
    {
        let mut manifest = manifest.clone();
        manifest["base"] = serving;
        let begun = edge.ask(Method::POST, "/v1/apps/shop/environments/prod/deploys", token);
        codes.push(got(begun.json(&json!({ "manifest": manifest }))).await);
    }
    let address = utf8_percent_encode(to, NON_ALPHANUMERIC);
    let path = format!("/v1/apps/shop/environments/prod/upstreams/api/members/{address}");
    let member = edge.ask(Method::PUT, &path, token).json(&json!({ "desired": "in" }));
    codes.push(got(member).await);
    let code = |answer: &crate::support::Got| match answer.status.is_success() {
        true => "taken".to_owned(),
        false => answer.problem().code.as_str().to_owned(),
    };
    let codes: Vec<String> = codes.iter().map(code).collect();
    assert!(codes.iter().all(|code| *code == codes[0]), "{to}: {codes:?}");
    codes[0].clone()
}

pub(super) async fn site(toml: &str) -> RunningEdge {
    let edge = edge().with_toml(toml).start().await;
    push(&edge, "shop", &[("index.html", b"home")], "[upstreams.api]\nto = []\n").await;
    edge
}

/// Law 11.
#[tokio::test]
async fn law_11_an_address_means_the_same_in_every_spelling_when_a_route_is_pushed() {
    let edge = site("").await;
    let push = edge.token_for(Scope::Push, Some("shop"), None).await;
    // The owner of an app, without further rights, is a tenant as well.
    let owner = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let admin = edge.admin_token().to_owned();
    for (addresses, by_push, by_admin) in [
        (&NEVER[..], "upstream_forbidden", "upstream_forbidden"),
        (&PRIVATE, "upstream_forbidden", "taken"),
        (&RESERVED, "upstream_forbidden", "upstream_forbidden"),
        (&PUBLIC, "taken", "taken"),
    ] {
        for to in addresses {
            assert_eq!(answers(&edge, &push, to).await, by_push, "{to} by a token that may push");
            assert_eq!(answers(&edge, &owner, to).await, by_push, "{to} by an admin of the app");
            assert_eq!(answers(&edge, &admin, to).await, by_admin, "{to} by an admin of every app");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_edge_toml_allows_opens_neither_metadata_nor_the_edge_itself() {
    let edge = site("[upstreams]\nallow = [\"0.0.0.0/0\", \"::/0\"]").await;
    let push = edge.token_for(Scope::Push, Some("shop"), None).await;
    for to in PRIVATE.iter().chain(&RESERVED).chain(&PUBLIC) {
        assert_eq!(answers(&edge, &push, to).await, "taken", "{to}");
    }
    let port = edge.admin().port();
    let own = ["127.0.0.1", "[::ffff:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "localhost", "0x7f.1"];
    let own: Vec<String> = own.iter().map(|host| format!("http://{host}:{port}")).collect();
    for to in NEVER.iter().copied().chain(own.iter().map(String::as_str)) {
        assert_eq!(answers(&edge, &push, to).await, "upstream_forbidden", "{to}");
    }
    edge.stop().await;
}

/// RFC 6874 zones name a network interface of this machine, so that untrusted input must not contain zones.
#[test]
fn an_address_with_a_zone_is_no_address_of_a_backend() {
    for text in [
        "http://[fe80::1%25eth0]",
        "http://[fe80::1%eth0]",
        "http://[::1%25lo]:80",
        "http://[::ffff:10.0.0.1%250]",
        "http://[::1]x",
        "http://[::1",
        "http://::1",
        "http://[v1.fe80::a+en1]",
    ] {
        assert!(text.parse::<UpstreamUrl>().is_err(), "{text}");
    }
}
