//! Information about a proxied request for clients, backends and the log: client address, request id, error.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use devanture_config::api::{DeployOptions, LogLine};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::deploying::backend::{Backend, dead};
use crate::deploying::gate::push;
use crate::support::{Got, RunningEdge, Setup, edge, eventually, got};

const LOG: &str = "[access_log]\nto = \"access.log\"\n";
/// Backend timeout in milliseconds, long enough that a busy machine causes no error.
const BACKEND_MS_MAX: u64 = 120_000;

async fn start(setup: Setup, to: SocketAddr) -> RunningEdge {
    let edge = setup.with_log(LOG).start().await;
    route(&edge, to).await;
    edge
}

async fn route(edge: &RunningEdge, to: SocketAddr) {
    route_with(edge, to, "").await;
}

/// Adds routes to a backend, with a limit.
async fn route_with(edge: &RunningEdge, to: SocketAddr, limit: &str) {
    let limits = format!("connect_timeout_ms = {BACKEND_MS_MAX}\ntimeout_ms = {BACKEND_MS_MAX}\n{limit}\n");
    let toml = format!("[[routes]]\npath = \"/api/*\"\nto = \"http://{to}\"\n{limits}");
    push(edge, "prod", &toml, DeployOptions::default(), &[("index.html", b"hi")]).await.unwrap();
}

/// Lines of the log, once `count` lines exist.
async fn lines(edge: &RunningEdge, count: usize) -> Vec<LogLine> {
    let mut lines = Vec::new();
    eventually("the lines are logged", async || {
        let answer = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/logs?lines=100")).await;
        lines = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.len() >= count
    })
    .await;
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

async fn last_line(edge: &RunningEdge, count: usize) -> LogLine {
    lines(edge, count).await.pop().unwrap()
}

/// Number of errors that the edge counted for the app.
async fn counted(edge: &RunningEdge, reason: &str) -> f64 {
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    let of = |line: &&str| {
        line.starts_with("devanture_upstream_errors_total") && line.contains(&format!("reason=\"{reason}\""))
    };
    metrics.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Backend that answers the first request of each connection with the bytes, and closes the connection unless `holds`.
fn saying(bytes: &'static [u8], holds: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut head = [0; 8192];
                drop(stream.read(&mut head));
                stream.write_all(bytes).ok();
                if holds {
                    // Blocks until the peer disconnects.
                    drop(stream.read(&mut head));
                }
            });
        }
    });
    address
}

fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| *field == name).map(|(_, value)| value.trim()).collect()
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

async fn ask_as_a_proxy(edge: &RunningEdge) -> Got {
    let request = edge.visit(Method::GET, "shop.localhost", "/api/x").header("x-forwarded-for", "6.6.6.6, 203.0.113.9");
    let request = request.header("x-forwarded-proto", "http").header("x-request-id", "from-outside");
    got(request.header("traceparent", TRACE).header("tracestate", "vendor=1")).await
}

#[tokio::test]
async fn a_trusted_proxy_says_who_asks_and_what_the_request_is_called() {
    let backend = Backend::start();
    let edge = start(edge().with_listen("trusted_proxies = [\"127.0.0.0/8\"]"), backend.address).await;
    let answer = ask_as_a_proxy(&edge).await;
    assert_eq!((answer.status, answer.header("x-request-id")), (StatusCode::OK, "from-outside"));
    let head = backend.heads().pop().unwrap();
    assert_eq!(values(&head, "x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
    let host = format!("host=\"shop.localhost:{}\"", edge.https().port());
    assert_eq!(values(&head, "forwarded"), [format!("for=203.0.113.9;proto=http, for=127.0.0.1;{host};proto=https")]);
    assert_eq!(values(&head, "x-request-id"), ["from-outside"]);
    let parent = values(&head, "traceparent").pop().unwrap();
    assert!(parent.starts_with(&TRACE[..36]) && parent.ends_with("-00") && parent != TRACE, "{parent}");
    assert_eq!(values(&head, "tracestate"), ["vendor=1"]);
    let line = last_line(&edge, 1).await;
    assert_eq!(line.client.unwrap().to_string(), "203.0.113.9");
    assert_eq!(line.request_id.as_deref(), Some("from-outside"));
    // For requests without a backend, the log has the client address nevertheless.
    got(edge.visit(Method::GET, "shop.localhost", "/").header("forwarded", "for=\"[2001:db8::1]\"")).await;
    let line = last_line(&edge, 2).await;
    assert_eq!((line.client.unwrap().to_string().as_str(), line.request_id), ("2001:db8::1", None));
    edge.stop().await;
}

#[tokio::test]
async fn a_stranger_says_nothing_of_itself_and_every_request_has_an_id_of_its_own() {
    let backend = Backend::start();
    let edge = start(edge(), backend.address).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = ask_as_a_proxy(&edge).await;
        let head = backend.heads().pop().unwrap();
        let id = answer.header("x-request-id").to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(values(&head, "x-request-id"), [&id]);
        let parent = values(&head, "traceparent").pop().unwrap();
        assert!(parent.starts_with(&format!("00-{id}-")) && parent.ends_with("-01"), "{parent}");
        assert_eq!((values(&head, "tracestate"), values(&head, "x-forwarded-for")), (vec![], vec!["127.0.0.1"]));
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
    let logged = lines(&edge, 2).await;
    for (line, id) in logged.iter().zip(&ids) {
        assert_eq!((line.request_id.as_ref(), line.error.as_ref()), (Some(id), None));
        assert_eq!(line.upstream, Some(backend.address.to_string()));
        assert_eq!(line.client.unwrap().to_string(), "127.0.0.1");
    }
    // A file needs no request id for correlation with a backend.
    assert_eq!(edge.get("shop.localhost", "/").await.header("x-request-id"), "");
    edge.stop().await;
}

#[tokio::test]
async fn a_fault_has_one_word_in_the_answer_the_log_and_the_metrics() {
    let silent = Backend::start();
    silent.is_silent();
    let closing = saying(b"", false);
    let babbling = saying(b"220 smtp.example ESMTP\r\n\r\n", false);
    let nobody = dead();
    let edge = start(edge(), nobody).await;
    for (count, (to, status, word, limit)) in [
        (nobody, 502, "connect", ""),
        (closing, 502, "closed", ""),
        (babbling, 502, "bad-answer", ""),
        (silent.address, 504, "timeout-first-byte", "first_byte_timeout_ms = 500"),
    ]
    .into_iter()
    .enumerate()
    {
        route_with(&edge, to, limit).await;
        let before = counted(&edge, word).await;
        let answer = edge.get("shop.localhost", "/api/x").await;
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status.as_u16(), problem["code"].as_str()), (status, Some(word)), "{problem}");
        let line = last_line(&edge, count + 1).await;
        assert_eq!((line.status, line.error.as_deref(), line.proxied), (status, Some(word), true));
        assert_eq!(line.upstream, Some(format!("http://{to}")));
        assert_eq!(line.request_id.as_deref(), Some(answer.header("x-request-id")));
        assert!(counted(&edge, word).await > before, "{word}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_logged_with_its_status_and_why() {
    let half = saying(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", false);
    let resting = saying(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", true);
    let edge = start(edge(), half).await;
    let faults = [(half, "closed", ""), (resting, "timeout-idle", "idle_timeout_ms = 500")];
    for (count, (to, word, limit)) in faults.into_iter().enumerate() {
        route_with(&edge, to, limit).await;
        let before = counted(&edge, word).await;
        let answer = edge.visit(Method::GET, "shop.localhost", "/api/x").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.bytes().await.is_err(), "half of it is not the whole");
        let line = last_line(&edge, count + 1).await;
        assert_eq!((line.status, line.bytes, line.error.as_deref()), (200, 4, Some(word)));
        assert_eq!(line.upstream, Some(to.to_string()));
        assert!(counted(&edge, word).await > before, "{word}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_logged_before_its_answer_and_within_it() {
    let silent = Backend::start();
    silent.is_silent();
    let edge = edge().with_log(LOG).start().await;
    route(&edge, silent.address).await;
    let asking = tokio::spawn(edge.visit(Method::GET, "shop.localhost", "/api/x").send());
    eventually("the backend is asked", async || silent.requests() == 1).await;
    asking.abort();
    let line = last_line(&edge, 1).await;
    assert_eq!((line.status, line.error.as_deref(), line.proxied), (499, Some("client-gone"), true));
    assert_eq!(line.upstream, Some(format!("http://{}", silent.address)));
    assert!(counted(&edge, "client-gone").await >= 1.0);

    route(&edge, saying(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", true)).await;
    let mut answer = edge.visit(Method::GET, "shop.localhost", "/api/x").send().await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "half");
    drop(answer);
    let line = last_line(&edge, 2).await;
    assert_eq!((line.status, line.bytes, line.error.as_deref()), (200, 4, Some("client-gone")));

    // A response to HEAD is complete, and so is an empty response.
    let whole = Backend::start();
    route(&edge, whole.address).await;
    got(edge.visit(Method::HEAD, "shop.localhost", "/")).await;
    got(edge.visit(Method::OPTIONS, "shop.localhost", "/")).await;
    edge.get("shop.localhost", "/api/x").await;
    assert!(lines(&edge, 5).await.iter().skip(2).all(|line| line.error.is_none()));
    edge.stop().await;
}

#[tokio::test]
async fn a_request_that_a_drain_has_no_time_for_is_logged_as_that_and_not_as_its_clients() {
    let silent = Backend::start();
    silent.is_silent();
    let edge = edge().with_log(LOG).in_a_process().with_drain_timeout_ms(100).start().await;
    route(&edge, silent.address).await;
    let asking = tokio::spawn(edge.visit(Method::GET, "shop.localhost", "/api/x").send());
    eventually("the backend is asked", async || silent.requests() == 1).await;
    let (folder, _) = edge.stopped().await;
    asking.await.unwrap().unwrap_err();
    let log = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    let line: LogLine = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((line.status, line.error.as_deref(), line.proxied), (499, Some("drained"), true));
}

const DEV: &str = "http://localhost:5173";

async fn ask_from(edge: &RunningEdge, method: Method, path: &str, origin: &str, more: &[(&str, &str)]) -> Got {
    let request = edge.visit(method, "shop.localhost", path).header("origin", origin);
    got(more.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

const PREFLIGHT: &[(&str, &str)] =
    &[("access-control-request-method", "PATCH"), ("access-control-request-headers", "x-one,content-type")];

/// Every CORS field, and `Vary`.
fn of_cors(answer: &Got) -> Vec<(&str, &str)> {
    let is_cors = |name: &str| name.starts_with("access-control-") || name == "vary";
    let mut fields: Vec<(&str, &str)> =
        answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    fields.retain(|(name, _)| is_cors(name));
    fields.sort_unstable();
    fields
}

#[tokio::test]
async fn a_front_of_a_named_origin_uses_the_backends_and_nobody_else_learns_anything() {
    let backend = Backend::start();
    let edge = edge().start().await;
    let routed = format!(
        "[[routes]]\npath = \"/api/*\"\nto = \"http://{}\"\n[[routes]]\npath = \"/down/*\"\nto = \"http://{}\"\n",
        backend.address,
        dead()
    );
    let toml = format!("cors = [\"https://app.example.org\", \"{DEV}\"]\n{routed}");
    push(&edge, "prod", &toml, DeployOptions::default(), &[("index.html", b"hi")]).await.unwrap();

    let preflight = ask_from(&edge, Method::OPTIONS, "/api/x", DEV, PREFLIGHT).await;
    assert_eq!((preflight.status, backend.requests()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(
        of_cors(&preflight),
        [
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-headers", "x-one,content-type"),
            ("access-control-allow-methods", "PATCH"),
            ("access-control-allow-origin", DEV),
            ("access-control-max-age", "600"),
            ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]
    );
    let allowed = |answer: &Got| {
        assert_eq!(answer.header("access-control-allow-origin"), DEV);
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert!(answer.header("access-control-expose-headers").contains("x-request-id"), "{answer:?}");
        assert!(answer.headers.get_all("vary").iter().any(|value| value == "Origin"), "{answer:?}");
    };
    // Another method is no preflight, whatever the fields.
    for (request, more) in [(1, &[][..]), (2, PREFLIGHT)] {
        let answer = ask_from(&edge, Method::GET, "/api/x", DEV, more).await;
        assert_eq!((answer.status, backend.requests()), (StatusCode::OK, request));
        allowed(&answer);
    }
    let failed = ask_from(&edge, Method::GET, "/down/x", DEV, &[]).await;
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    allowed(&failed);
    assert_eq!(ask_from(&edge, Method::OPTIONS, "/down/x", DEV, PREFLIGHT).await.status, StatusCode::NO_CONTENT);

    // A preflight from an unlisted origin goes to the backend, and so does an OPTIONS request that is no preflight.
    for (origin, more) in [("http://localhost:5174", PREFLIGHT), ("null", PREFLIGHT), (DEV, &[])] {
        let before = backend.requests();
        let answer = ask_from(&edge, Method::OPTIONS, "/api/x", origin, more).await;
        assert_eq!((answer.status, backend.requests()), (StatusCode::OK, before + 1), "{origin}");
        assert_eq!(of_cors(&answer).is_empty(), origin != DEV, "{origin}");
    }
    // Files get no CORS fields.
    let file = ask_from(&edge, Method::GET, "/", DEV, &[]).await;
    assert!(of_cors(&file).iter().all(|(name, _)| *name == "vary"), "{file:?}");

    // By default, no CORS field is added.
    push(&edge, "prod", &routed, DeployOptions::default(), &[("index.html", b"hi")]).await.unwrap();
    let before = backend.requests();
    let answer = ask_from(&edge, Method::OPTIONS, "/api/x", DEV, PREFLIGHT).await;
    assert_eq!((backend.requests(), of_cors(&answer)), (before + 1, vec![]));
    edge.stop().await;
}

#[tokio::test]
async fn what_a_backend_says_of_other_origins_passes_as_it_is() {
    const OWN: &[u8] =
        b"HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\nvary: Accept\r\ncontent-length: 2\r\n\r\nok";
    let edge = edge().start().await;
    let to = saying(OWN, false);
    let toml = format!("cors = [\"{DEV}\"]\n[[routes]]\npath = \"/api/*\"\nto = \"http://{to}\"\n");
    push(&edge, "prod", &toml, DeployOptions::default(), &[("index.html", b"hi")]).await.unwrap();
    let other = ask_from(&edge, Method::GET, "/api/x", "https://other.example", &[]).await;
    assert_eq!(of_cors(&other), [("access-control-allow-origin", "*"), ("vary", "Accept")]);
    let named = ask_from(&edge, Method::GET, "/api/x", DEV, &[]).await;
    let all: Vec<_> = named.headers.get_all("access-control-allow-origin").iter().collect();
    assert_eq!(all, [DEV]);
    let varies: Vec<_> = named.headers.get_all("vary").iter().collect();
    assert_eq!(varies, ["Accept", "Origin"]);
    edge.stop().await;
}
