//! A browser sends the cookies of one app to no second app, in any spelling of `Domain`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use crate::support::browser::{Browser, Trusted};
use crate::support::edge::{Edge, Ran, edge};

const DOMAIN: &str = "apps.example";

/// Spellings of the domain shared by both apps. Browsers map all but the last few to the domain (UTS #46).
const DOMAINS: [&str; 11] = [
    "apps.example",
    ".apps.example",
    "APPS.EXAMPLE",
    "\u{ff41}pps.example",
    "apps\u{3002}example",
    "apps\u{ff0e}example",
    "apps\u{ff61}example",
    "ap\u{ad}ps.example",
    "evil.apps.example; Domain=apps.example",
    "%61pps.example",
    "\"apps.example\"",
];

/// Starts a backend that sets a cookie for each of the domains at one path, and echoes the received cookies at all
/// others.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let cookie = head.lines().find_map(|line| line.strip_prefix("cookie: ")).unwrap_or_default();
                let cookies: String = match head.starts_with("GET /api/set ") {
                    true => cookies().map(|cookie| format!("set-cookie: {cookie}\r\n")).collect(),
                    false => String::new(),
                };
                let length = cookie.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\n{cookies}content-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{cookie}"
                );
                stream.write_all(answer.as_bytes()).ok();
            });
        }
    });
    address
}

/// A cookie for each of the domains, and a cookie for the app itself.
fn cookies() -> impl Iterator<Item = String> {
    let wide = DOMAINS.iter().enumerate();
    wide.map(|(number, domain)| format!("c{number}=1; Domain={domain}; Path=/; Secure"))
        .chain(["own=1; Domain=evil.apps.example; Path=/; Secure".to_owned()])
}

fn push(edge: &Edge, app: &str, backend: SocketAddr, headers: &str) {
    let www = tempfile::tempdir().unwrap();
    std::fs::write(www.path().join("index.html"), "<!doctype html><title>home</title><link rel=icon href=data:,>")
        .unwrap();
    std::fs::write(www.path().join("_headers"), headers).unwrap();
    let toml = format!(
        "app = \"{app}\"\nwww = \".\"\nrules = \"netlify\"\n[[routes]]\npath = \"/api/*\"\nto = \"http://{backend}\"\n"
    );
    std::fs::write(www.path().join("devanture.toml"), toml).unwrap();
    let ran = Ran::of(edge.command(www.path(), app, &["push", "--allow-warnings"]).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
}

/// Law 11.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_a_browser_sends_the_cookies_of_one_app_to_no_other() {
    let profile = tempfile::tempdir().unwrap();
    let resolve = "--host-resolver-rules=MAP *.apps.example 127.0.0.1";
    let Some(browser) = Browser::start_with(Trusted::Everybody, &[resolve], profile.path()).await else { return };
    let edge = edge().with_domain(DOMAIN).start();
    let backend = backend();
    // By rules and by a backend.
    let headers: String = cookies().map(|cookie| format!("/*\n  Set-Cookie: r{cookie}\n")).collect();
    push(&edge, "evil", backend, &headers);
    push(&edge, "victim", backend, "");
    let page = browser.open(&edge.url("evil.apps.example", "/")).await;
    page.evaluate("fetch('/api/set').then(answer => answer.text())").await;
    let sent = "fetch('/api/cookies').then(answer => answer.text())";
    let own = page.evaluate(sent).await;
    let own: Vec<&str> = own.as_str().unwrap().split("; ").collect();
    page.go(&edge.url("victim.apps.example", "/")).await;
    assert_eq!(page.evaluate(sent).await, "");
    // Without `Domain`, each cookie belongs to the app alone.
    for number in 0..DOMAINS.len() {
        for cookie in [format!("c{number}=1"), format!("rc{number}=1")] {
            assert!(own.contains(&cookie.as_str()), "{cookie} is not in {own:?}");
        }
    }
    assert!(own.contains(&"own=1") && own.contains(&"rown=1"), "{own:?}");

    // Unlike an answer, a script can set such cookies, unless the domain is a public suffix (see `SECURITY.md`): so
    // this browser does map the domains to the shared domain, and would have sent the cookies above.
    page.go(&edge.url("evil.apps.example", "/")).await;
    for (number, domain) in DOMAINS.iter().enumerate() {
        page.evaluate(&format!("document.cookie = 's{number}=1; Domain={}; Path=/; Secure'", domain.replace('\'', "")))
            .await;
    }
    page.go(&edge.url("victim.apps.example", "/")).await;
    let reached = page.evaluate(sent).await;
    let reached: Vec<&str> = reached.as_str().unwrap().split("; ").collect();
    assert!(reached.len() >= 8, "{reached:?}");
    page.close().await;
}
