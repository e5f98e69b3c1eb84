//! Cookies that try to reach the hostnames of other apps.
//!
//! `uploader/tests/e2e/cookies.rs` tests that browsers send such cookies to no other host.

use http::Method;

use crate::attacks::world::{Backend, push};
use crate::support::{RunningEdge, edge, got};
use crate::wire::{Protocol, ask, protocols};

const DOMAIN: &str = "apps.example.com";

/// Spellings of the apps' common domain, and of other apps' hosts, that browsers accept.
const DOMAINS: [&str; 17] = [
    "apps.example.com",
    ".apps.example.com",
    "APPS.Example.COM",
    "example.com",
    "com",
    "victim.apps.example.com",
    "apps.example.com.",
    "\"apps.example.com\"",
    "\u{ff41}pps.example.com",
    "apps\u{3002}example\u{3002}com",
    "apps\u{ff0e}example\u{ff61}com",
    "ap\u{ad}ps.example.com",
    "ap\u{200b}ps.example.com",
    "%61pps.example.com",
    "apps.example.com; Domain=evil.apps.example.com",
    "evil.apps.example.com; Domain=apps.example.com",
    "evil.apps.example.com; domain = .apps.example.com ; Path=/",
];

/// Cookies of a response, none of which may have a `Domain` other than `host`.
async fn cookies(edge: &RunningEdge, host: &str, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for protocol in protocols(edge) {
        let answer = ask(path).host(host).send(edge, protocol).await;
        let cookies: Vec<String> = answer.headers.get_all("set-cookie").iter().map(lossy).collect();
        for cookie in &cookies {
            let domains: Vec<String> = cookie
                .split(';')
                .skip(1)
                .filter_map(|part| part.trim().to_ascii_lowercase().strip_prefix("domain").map(str::to_owned))
                .collect();
            assert!(domains.is_empty() || domains == [format!("={host}")], "{path}: {cookie}");
        }
        assert!(!answer.headers.contains_key("set-cookie2"), "{path}");
        found.push(cookies);
    }
    assert_eq!(found[0], found[1], "{path}");
    found.swap_remove(0)
}

fn lossy(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Response of a backend: a cookie for each of the domains, with the number in the name.
fn answer() -> Vec<u8> {
    let cookies: String = DOMAINS
        .iter()
        .enumerate()
        .map(|(number, domain)| format!("set-cookie: c{number}=1; Domain={domain}\r\n"))
        .collect();
    let own = "set-cookie: own=1; Domain=evil.apps.example.com\r\nset-cookie2: a=1; Domain=apps.example.com\r\n";
    format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n{cookies}{own}\r\nok").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_11_no_answer_of_an_app_sets_a_cookie_for_a_parent_of_its_host() {
    let backend = Backend::start(answer()).await;
    let edge = edge().with_domain(DOMAIN).start().await;
    // One block each: within a block, Netlify joins the lines.
    let block = |(number, domain)| format!("/*\n  Set-Cookie: c{number}=1; Domain={domain}\n  Set-Cookie2: a=1\n");
    let headers: String = DOMAINS.iter().enumerate().map(block).collect();
    let toml = format!(
        "rules = \"netlify\"\n[[routes]]\npath = \"/api/*\"\nto = \"{}\"\n[[routes]]\npath = \"/set/*\"\nto = \"{}\"\n\
         [routes.response_headers]\nset = {{ set-cookie = \"a=1; Domain={DOMAIN}\" }}\n\
         [[routes]]\npath = \"/away/*\"\nto = \"http://127.0.0.1:1\"\n",
        backend.url(),
        backend.url()
    );
    let files: &[(&str, &[u8])] =
        &[("index.html", b"home"), ("404.html", b"nothing"), ("502.html", b"away"), ("_headers", headers.as_bytes())];
    push(&edge, "evil", files, &toml).await;
    let host = "evil.apps.example.com";
    // Files, 404 pages, and an asset that is not modified.
    for path in ["/", "/missing"] {
        let found = cookies(&edge, host, path).await;
        assert_eq!(found.len(), DOMAINS.len(), "{path} {found:?}");
    }
    let found = cookies(&edge, host, "/api/x").await;
    assert_eq!(found.len(), DOMAINS.len() + 1);
    assert_eq!(found.last().unwrap(), "own=1; Domain=evil.apps.example.com");
    assert_eq!(cookies(&edge, host, "/set/x").await, ["a=1"]);
    // An unreachable backend, and the preview on another host.
    assert_eq!(cookies(&edge, host, "/away/x").await, [""; 0]);
    let version = edge.live("evil").await.unwrap();
    let preview = format!("{}--evil.{DOMAIN}", version.short());
    for path in ["/", "/api/x"] {
        cookies(&edge, &preview, path).await;
    }
    edge.stop().await;
}

/// The operator may give an app a domain with other apps' hostnames below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_11_what_an_app_says_at_a_parent_of_hostnames_holds_for_itself_alone() {
    let backend = Backend::start(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\
         set-cookie: a=1; Domain=apps.example.com\r\nset-cookie: b=1; Domain=www.example.org\r\n\
         strict-transport-security: max-age=63072000; includeSubDomains; preload\r\n\
         nel: {\"report_to\":\"all\",\"max_age\":1,\"include_subdomains\":true}\r\n\
         report-to: {\"group\":\"all\",\"max_age\":1,\"include_subdomains\":true,\"endpoints\":[]}\r\n\
         clear-site-data: \"cookies\"\r\nalt-svc: h3=\":8444\"\r\n\r\nok",
    )
    .await;
    let edge = edge().with_domain(DOMAIN).start().await;
    let toml = format!("[[routes]]\npath = \"/api/*\"\nto = \"{}\"\n", backend.url());
    push(&edge, "home", &[("index.html", b"home")], &toml).await;
    for host in [DOMAIN, "home2.apps.example.com", "www.example.org"] {
        let path = format!("/v1/apps/home/environments/prod/hostnames/{host}");
        let body = "{\"canonical\":false}";
        let added = got(edge.api(Method::PUT, &path).header("content-type", "application/json").body(body)).await;
        assert!(added.status.is_success(), "{}", added.text());
    }
    let hsts = "max-age=63072000; includeSubDomains; preload";
    for (host, cookies, transport, reports, clears) in [
        (DOMAIN, ["a=1", "b=1"], "max-age=63072000", false, false),
        ("home2.apps.example.com", ["a=1", "b=1"], hsts, true, false),
        ("www.example.org", ["a=1", "b=1; Domain=www.example.org"], hsts, true, true),
    ] {
        let answer = ask("/api/x").host(host).send(&edge, Protocol::Http2).await;
        if answer.status == 308 {
            continue;
        }
        let found: Vec<String> = answer.headers.get_all("set-cookie").iter().map(lossy).collect();
        assert_eq!(found, cookies, "{host}");
        assert_eq!(answer.header("strict-transport-security"), transport, "{host}");
        assert_eq!(answer.header("alt-svc"), "", "{host}");
        for name in ["nel", "report-to"] {
            assert_eq!(answer.headers.contains_key(name), reports, "{host} {name}");
        }
        assert_eq!(answer.headers.contains_key("clear-site-data"), clears, "{host}");
    }
    edge.stop().await;
}
