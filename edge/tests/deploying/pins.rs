//! Pins: a visitor stays on the version of the first page for the length of the visit.

mod counted;
mod guarded;
mod many;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use devanture_config::VersionId;
use devanture_config::api::{BeginDeploy, DeployOptions, InstanceList, InstanceState, Status, Unpinned};
use devanture_config::problem::Code;
use devanture_config::signing::PrivateKey;
use devanture_config::site_toml::SiteFile;
use http::{Method, StatusCode};
use serde_json::json;

use super::backend::Backend;
use super::gate::{post, push};
use crate::signing::world::{key, signature, want};
use crate::support::backends::Backend as Managed;
use crate::support::{Files, Got, RunningEdge, edge, eventually, got, manifest};

const HOST: &str = "shop.localhost";
const PIN: &str = "__Host-devanture-pin";
const TOML: &str = "pin = \"session\"\n";
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const CRAWLER: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
const ONE: Files<'_> = &[("index.html", b"one"), ("data.json", b"1"), ("assets/app-1a2b3c4d.js", b"1")];
const TWO: Files<'_> = &[("index.html", b"two"), ("data.json", b"2"), ("assets/app-5e6f7a8b.js", b"2")];
const THREE: Files<'_> = &[("index.html", b"three"), ("data.json", b"3")];
const FOUR: Files<'_> = &[("index.html", b"four"), ("data.json", b"4")];

/// Browser with a cookie jar.
#[derive(Default)]
struct Visitor {
    cookies: BTreeMap<String, String>,
}

impl Visitor {
    /// Visitor of the front page.
    async fn new(edge: &RunningEdge) -> Self {
        let mut visitor = Self::default();
        visitor.get(edge, "/").await;
        visitor
    }

    /// Navigates to a page.
    async fn get(&mut self, edge: &RunningEdge, path: &str) -> Got {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = edge.visit(Method::GET, HOST, path).header("accept", "text/html");
        let request = request.header("sec-fetch-mode", "navigate").header("user-agent", BROWSER);
        let answer = got(request.header("cookie", cookies.join("; "))).await;
        self.keep(&answer);
        answer
    }

    /// Sends a request of a page's script.
    async fn fetch(&mut self, edge: &RunningEdge, path: &str) -> Got {
        let request = edge.visit(Method::GET, HOST, path).header("sec-fetch-mode", "cors");
        let request = request.header("sec-fetch-dest", "empty").header("user-agent", BROWSER);
        let answer = got(request.header("cookie", format!("{PIN}={}", self.cookies[PIN]))).await;
        self.keep(&answer);
        answer
    }

    /// Stores the cookies of a response.
    fn keep(&mut self, answer: &Got) {
        for given in answer.headers.get_all("set-cookie") {
            let (name, value) = given.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    async fn sees(&mut self, edge: &RunningEdge) -> String {
        self.get(edge, "/").await.text()
    }

    /// Files read by the backend, requested by a script.
    async fn built(&self, edge: &RunningEdge) -> String {
        self.evaluates(edge, "fs.readFileSync('build', 'utf8')").await
    }

    async fn evaluates(&self, edge: &RunningEdge, what: &'static str) -> String {
        let request = edge.visit(Method::POST, HOST, "/api/evaluate");
        got(request.header("cookie", format!("{PIN}={}", self.cookies[PIN])).body(what)).await.text()
    }

    /// Changes a part of the last cookie.
    fn changes(&mut self, part: usize, to: &str) {
        let mut parts: Vec<&str> = self.cookies[PIN].split('.').collect();
        parts[part] = to;
        self.cookies.insert(PIN.to_owned(), parts.join("."));
    }

    /// Backdates the last cookie by `seconds`.
    fn was_here_before(&mut self, seconds: u64) {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let seen = (now_s - seconds).to_string();
        self.changes(1, &seen);
    }
}

/// Both texts in the form of the backend's responses.
fn quoted(one: &str, other: &str) -> (String, String) {
    (format!("{one:?}"), format!("{other:?}"))
}

async fn live(edge: &RunningEdge, files: Files<'_>) -> VersionId {
    push(edge, "prod", TOML, DeployOptions::default(), files).await.unwrap().version
}

async fn pinned(edge: &RunningEdge) -> Vec<VersionId> {
    got(edge.api(Method::GET, "/v1/apps/shop/environments/prod")).await.json::<Status>().pinned
}

#[tokio::test]
async fn a_visitor_stays_on_the_version_of_the_first_page_and_others_get_what_is_live() {
    let edge = edge().start().await;
    let one = live(&edge, ONE).await;
    let mut visitor = Visitor::default();
    let first = visitor.get(&edge, "/").await;
    let given = first.header("set-cookie");
    assert!(given.starts_with(&format!("{PIN}={}.", one.short())), "{given}");
    assert!(given.ends_with("; Path=/; Max-Age=1980; Secure; HttpOnly; SameSite=Lax"), "{given}");
    assert_eq!((first.header("vary"), first.header("cache-control").starts_with("private")), ("cookie", true));
    let two = live(&edge, TWO).await;
    assert_eq!(pinned(&edge).await, [one]);
    for (path, text) in [("/", "one"), ("/data.json", "1")] {
        let answer = visitor.get(&edge, path).await;
        assert_eq!(
            (answer.text().as_str(), answer.header("devanture-version")),
            (text, one.short().as_str()),
            "{path}"
        );
        assert_eq!((answer.header("vary"), answer.header("set-cookie")), ("cookie", ""), "{path}");
        assert!(answer.header("cache-control").starts_with("private"), "{path} {answer:?}");
    }
    // Assets of both versions are the same for every visitor.
    for path in ["/assets/app-1a2b3c4d.js", "/assets/app-5e6f7a8b.js"] {
        let answer = visitor.get(&edge, path).await;
        assert_eq!((answer.status, answer.header("vary")), (StatusCode::OK, ""), "{path}");
        assert!(answer.header("cache-control").contains("immutable"), "{answer:?}");
    }
    let mut other = Visitor::new(&edge).await;
    assert_eq!(other.sees(&edge).await, "two");
    for (accept, agent) in [("*/*", "curl/8.5.0"), ("text/html", CRAWLER)] {
        let request = edge.visit(Method::GET, HOST, "/").header("accept", accept).header("user-agent", agent);
        let answer = got(request).await;
        assert_eq!((answer.text().as_str(), answer.header("set-cookie")), ("two", ""), "{agent}");
    }
    // Both pins survive a restart and further switches.
    let edge = edge.restart().await;
    assert_eq!((visitor.sees(&edge).await, other.sees(&edge).await), ("one".to_owned(), "two".to_owned()));
    live(&edge, THREE).await;
    assert_eq!((visitor.sees(&edge).await, other.sees(&edge).await), ("one".to_owned(), "two".to_owned()));
    assert_eq!(pinned(&edge).await, [two, one]);
    edge.stop().await;
}

#[tokio::test]
async fn who_was_away_gets_what_is_live_and_who_comes_again_is_held_on() {
    let edge = edge().start().await;
    let one = live(&edge, ONE).await;
    let (mut away, mut comes) = (Visitor::new(&edge).await, Visitor::new(&edge).await);
    let two = live(&edge, TWO).await;
    comes.was_here_before(600);
    let again = comes.get(&edge, "/data.json").await;
    assert_eq!(again.text(), "1");
    assert!(again.header("set-cookie").starts_with(&format!("{PIN}={}.", one.short())), "{again:?}");
    // An asset that is the same for all visitors stays public.
    comes.was_here_before(600);
    let asset = comes.get(&edge, "/assets/app-1a2b3c4d.js").await;
    assert_eq!((asset.header("set-cookie"), asset.header("vary")), ("", ""));
    away.was_here_before(1_990);
    let back = away.get(&edge, "/").await;
    assert_eq!(back.text(), "two");
    assert!(back.header("set-cookie").starts_with(&format!("{PIN}={}.", two.short())), "{back:?}");
    edge.stop().await;
}

#[tokio::test]
async fn going_back_takes_visitors_back_from_all_that_came_after() {
    let edge = edge().start().await;
    let one = live(&edge, ONE).await;
    let mut of_one = Visitor::new(&edge).await;
    live(&edge, TWO).await;
    let mut of_two = Visitor::new(&edge).await;
    live(&edge, THREE).await;
    let mut of_three = Visitor::new(&edge).await;
    assert_eq!(post(&edge, "prod/rollback", json!({})).await.status, StatusCode::OK);
    assert_eq!(of_three.sees(&edge).await, "two");
    assert_eq!((of_two.sees(&edge).await, of_one.sees(&edge).await), ("two".to_owned(), "one".to_owned()));
    assert_eq!(pinned(&edge).await, [one]);
    // Like a switch to a version with pinned visitors.
    live(&edge, FOUR).await;
    let mut of_four = Visitor::new(&edge).await;
    assert_eq!(post(&edge, "prod/switch", json!({ "version": one })).await.status, StatusCode::OK);
    for visitor in [&mut of_one, &mut of_two, &mut of_four] {
        assert_eq!(visitor.sees(&edge).await, "one");
    }
    assert!(pinned(&edge).await.is_empty());
    edge.stop().await;
}

#[tokio::test]
async fn nobody_chooses_another_version_than_those_that_visitors_are_held_on() {
    let edge = edge().start().await;
    live(&edge, ONE).await;
    let mut of_one = Visitor::new(&edge).await;
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let stored = push(&edge, "prod", TOML, options, FOUR).await.unwrap().version;
    // A version without `pin` releases all visitors.
    push(&edge, "prod", "", DeployOptions::default(), TWO).await.unwrap();
    let plain = of_one.get(&edge, "/").await;
    assert_eq!((plain.text().as_str(), plain.header("vary"), plain.header("set-cookie")), ("two", "", ""));
    live(&edge, THREE).await;
    assert_eq!(of_one.sees(&edge).await, "three");
    let name = |id: VersionId| id.short();
    for value in [
        format!("{}.{}.1", name(stored), u32::MAX),
        format!("{}.1.1", name(stored)),
        "".to_owned(),
        ".".to_owned(),
        "x".repeat(4_000),
        format!("{}.99999999999.99999999999999", name(stored)),
    ] {
        let mut visitor = Visitor { cookies: [(PIN.to_owned(), value.clone())].into() };
        assert_eq!(visitor.sees(&edge).await, "three", "{value}");
    }
    let mut visitor = Visitor::new(&edge).await;
    let since_ms: u64 = visitor.cookies[PIN].rsplit('.').next().unwrap().parse().unwrap();
    visitor.changes(0, &name(stored));
    visitor.changes(2, &(since_ms + 1).to_string());
    let answer = visitor.get(&edge, "/").await;
    // Another node may know already that the stored version is about to go live: the cookie is not replaced.
    assert_eq!((answer.text().as_str(), answer.header("set-cookie"), answer.header("vary")), ("three", "", "cookie"));
    visitor.was_here_before(20);
    assert_ne!(visitor.get(&edge, "/").await.header("set-cookie"), "");
    edge.stop().await;
}

#[tokio::test]
async fn unpin_lets_go_of_all_who_are_held_on_earlier_versions() {
    let edge = edge().start().await;
    let one = live(&edge, ONE).await;
    let mut visitor = Visitor::new(&edge).await;
    live(&edge, TWO).await;
    assert_eq!(visitor.sees(&edge).await, "one");
    let unpin = async || got(edge.api(Method::DELETE, "/v1/apps/shop/environments/prod/pins")).await;
    assert_eq!(unpin().await.json::<Unpinned>().versions, [one]);
    assert_eq!(visitor.sees(&edge).await, "two");
    assert!(unpin().await.json::<Unpinned>().versions.is_empty());
    // A visitor pinned to the live version stays pinned.
    live(&edge, THREE).await;
    assert_eq!(visitor.sees(&edge).await, "two");
    edge.stop().await;
}

#[tokio::test]
async fn who_is_released_is_held_on_the_next_version_from_its_first_answer_on() {
    let edge = edge().start().await;
    let one = live(&edge, ONE).await;
    let (mut visitor, mut of_scripts) = (Visitor::new(&edge).await, Visitor::new(&edge).await);
    let two = live(&edge, TWO).await;
    got(edge.api(Method::DELETE, "/v1/apps/shop/environments/prod/pins")).await;
    let page = visitor.get(&edge, "/").await;
    assert_eq!(page.text(), "two");
    assert!(page.header("set-cookie").starts_with(&format!("{PIN}={}.", two.short())), "{page:?}");
    // The page of an open application sends requests of scripts alone.
    let data = of_scripts.fetch(&edge, "/data.json").await;
    assert_eq!(data.text(), "2");
    assert!(data.header("set-cookie").starts_with(&format!("{PIN}={}.", two.short())), "{data:?}");
    // The edited cookie is no valid pin.
    of_scripts.changes(0, &one.short());
    let asset = of_scripts.fetch(&edge, "/assets/app-5e6f7a8b.js").await;
    assert_eq!((asset.header("set-cookie"), asset.header("vary")), ("", ""));
    live(&edge, THREE).await;
    assert_eq!(visitor.sees(&edge).await, "two");
    // By a rollback as well, and by a second rollback.
    for expected in ["two", "one"] {
        assert_eq!(post(&edge, "prod/rollback", json!({})).await.status, StatusCode::OK);
        let mut held = Visitor { cookies: visitor.cookies.clone() };
        assert_eq!(held.sees(&edge).await, expected);
    }
    let back = visitor.get(&edge, "/").await;
    assert!(back.header("set-cookie").starts_with(&format!("{PIN}={}.", one.short())), "{back:?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_status_names_the_versions_that_somebody_can_be_held_on_and_no_other() {
    let edge = edge().start().await;
    let one = live(&edge, ONE).await;
    let mut visitor = Visitor::new(&edge).await;
    let two = live(&edge, TWO).await;
    let three = live(&edge, THREE).await;
    assert_eq!(pinned(&edge).await, [two, one]);
    let delete = got(edge.api(Method::DELETE, &format!("/v1/apps/shop/versions/{one}"))).await;
    assert_eq!(delete.status, StatusCode::OK, "{delete:?}");
    assert_eq!(visitor.sees(&edge).await, "three");
    assert_eq!(pinned(&edge).await, [two]);
    // Also without a request in between.
    let edge = edge.restart().await;
    eventually("the earlier version is at hand", async || pinned(&edge).await == [two]).await;
    live(&edge, FOUR).await;
    assert_eq!(pinned(&edge).await, [three, two]);
    edge.stop().await;
}

#[tokio::test]
async fn a_status_names_no_version_whose_grace_period_or_last_visitor_is_over() {
    let edge = edge().with_limit("grace_ms_max", 1).start().await;
    live(&edge, ONE).await;
    live(&edge, TWO).await;
    eventually("the grace period is over", async || pinned(&edge).await.is_empty()).await;
    edge.stop().await;
    let edge = crate::support::edge().start().await;
    let brief = "pin = \"session\"\npin_idle_ms = 1_000\n";
    push(&edge, "prod", brief, DeployOptions::default(), ONE).await.unwrap();
    push(&edge, "prod", brief, DeployOptions::default(), TWO).await.unwrap();
    eventually("nobody can be there any more", async || pinned(&edge).await.is_empty()).await;
    edge.stop().await;
}

#[tokio::test]
async fn unpin_says_what_is_not_there() {
    let edge = edge().start().await;
    let unpin =
        async |app: &str| got(edge.api(Method::DELETE, &format!("/v1/apps/{app}/environments/prod/pins"))).await;
    let nobody = unpin("nope").await;
    assert_eq!((nobody.status, nobody.code()), (StatusCode::NOT_FOUND, Code::NotFound), "{nobody:?}");
    assert!(nobody.text().contains("There is no app nope"), "{nobody:?}");
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    push(&edge, "prod", TOML, options, ONE).await.unwrap();
    let nothing = unpin("shop").await;
    assert_eq!(nothing.code(), Code::NothingLive);
    assert!(!nothing.text().contains("canary"), "{nothing:?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_headless_browser_is_a_visitor() {
    let edge = edge().start().await;
    live(&edge, ONE).await;
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0";
    let request = edge.visit(Method::GET, HOST, "/").header("accept", "text/html").header("user-agent", agent);
    let answer = got(request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document")).await;
    assert!(answer.header("set-cookie").starts_with(PIN), "{answer:?}");
    edge.stop().await;
}

#[tokio::test]
async fn nobody_is_held_on_what_lacks_the_signatures_that_are_wanted() {
    let edge = edge().start().await;
    let ada = key("ada");
    let push_signed = async |files: Files<'_>, signers: &[&PrivateKey]| {
        let site = SiteFile::parse("devanture.toml", TOML).unwrap();
        let mut manifest = manifest(files);
        (manifest.base, manifest.env) = (site.base, site.env);
        let signatures = signers.iter().map(|key| signature(key, manifest.id())).collect();
        let options = DeployOptions { signatures, ..DeployOptions::default() };
        let begin = BeginDeploy { manifest, source: Default::default(), options };
        edge.try_push("shop", "prod", begin, files).await.unwrap().version
    };
    push_signed(ONE, &[]).await;
    let mut of_one = Visitor::new(&edge).await;
    let two = push_signed(TWO, &[&ada]).await;
    let mut of_two = Visitor::new(&edge).await;
    push_signed(THREE, &[]).await;
    let mut of_three = Visitor::new(&edge).await;
    // The live version stays live; no visitor is pinned to a version that could not go live again.
    want(&edge, &[&ada], 1).await;
    assert_eq!(pinned(&edge).await, [two]);
    assert_eq!((of_one.sees(&edge).await, of_two.sees(&edge).await), ("three".to_owned(), "two".to_owned()));
    push_signed(FOUR, &[&ada]).await;
    assert_eq!(pinned(&edge).await, [two]);
    for (visitor, expected) in [(&mut of_one, "four"), (&mut of_two, "two"), (&mut of_three, "four")] {
        assert_eq!(visitor.sees(&edge).await, expected);
    }
    edge.stop().await;
}

#[tokio::test]
async fn as_many_versions_as_the_limit_says_hold_visitors() {
    let edge = edge().with_limit("pinned_versions_max", 1).start().await;
    live(&edge, ONE).await;
    let mut of_one = Visitor::new(&edge).await;
    live(&edge, TWO).await;
    let mut of_two = Visitor::new(&edge).await;
    assert_eq!(of_one.sees(&edge).await, "one");
    live(&edge, THREE).await;
    assert_eq!((of_one.sees(&edge).await, of_two.sees(&edge).await), ("three".to_owned(), "two".to_owned()));
    edge.stop().await;
}

#[tokio::test]
async fn who_is_held_is_drawn_by_no_canary_and_one_that_ends_holds_nobody() {
    let edge = edge().start().await;
    live(&edge, ONE).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(Visitor::new(&edge).await);
    }
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let next = push(&edge, "prod", TOML, options, TWO).await.unwrap().version;
    let canary = "/v1/apps/shop/environments/prod/canary";
    let begun = got(edge.api(Method::PUT, canary).json(&json!({ "version": next, "share": 90 }))).await;
    assert_eq!(begun.status, StatusCode::OK);
    for visitor in &mut held {
        assert_eq!(visitor.sees(&edge).await, "one");
    }
    let mut of_canary = loop {
        let mut visitor = Visitor::new(&edge).await;
        if visitor.sees(&edge).await == "two" {
            break visitor;
        }
    };
    got(edge.api(Method::DELETE, canary).json(&json!({}))).await;
    assert_eq!(of_canary.sees(&edge).await, "one");
    edge.stop().await;
}

#[tokio::test]
async fn requests_of_a_held_visitor_go_to_the_backends_of_that_version() {
    let (edge, first, second) = (edge().start().await, Backend::start(), Backend::start());
    second.answers(201);
    let routed =
        |backend: &Backend| format!("{TOML}[[routes]]\npath = \"/api/*\"\nto = \"http://{}\"\n", backend.address);
    push(&edge, "prod", &routed(&first), DeployOptions::default(), ONE).await.unwrap();
    let mut visitor = Visitor::new(&edge).await;
    push(&edge, "prod", &routed(&second), DeployOptions::default(), TWO).await.unwrap();
    let mut other = Visitor::new(&edge).await;
    let answer = visitor.get(&edge, "/api/cart").await;
    assert_eq!((answer.status, answer.header("vary")), (StatusCode::OK, "cookie"));
    assert_eq!(other.get(&edge, "/api/cart").await.status, StatusCode::CREATED);
    edge.stop().await;
}

#[tokio::test]
async fn the_instances_of_an_earlier_version_run_for_those_who_are_held_on_it() {
    let edge = edge().with_runner().start().await;
    let build = |build: &str| Managed::new(build).with_file("build", build, false).pinning();
    let token = edge.admin_token().to_owned();
    edge.push_backend(&token, ("shop", "prod"), &build("1")).await.unwrap();
    let mut visitor = Visitor::new(&edge).await;
    edge.push_backend(&token, ("shop", "prod"), &build("2")).await.unwrap();
    let other = Visitor::new(&edge).await;
    for _ in 0..5 {
        assert_eq!((visitor.built(&edge).await, other.built(&edge).await), ("\"1\"".to_owned(), "\"2\"".to_owned()));
    }
    // A page and the requests of the page's scripts stay on one version.
    assert_eq!(visitor.sees(&edge).await, "1");
    got(edge.api(Method::DELETE, "/v1/apps/shop/environments/prod/pins")).await;
    assert_eq!((visitor.sees(&edge).await, visitor.built(&edge).await), ("2".to_owned(), "\"2\"".to_owned()));
    edge.stop().await;
}

#[tokio::test]
async fn the_backend_of_a_held_visitor_is_that_of_the_page_also_after_a_restart() {
    let edge = edge().with_runner().start().await;
    let build = |build: &str| Managed::new(build).with_file("build", build, false).pinning();
    let token = edge.admin_token().to_owned();
    let set = async |edge: &RunningEdge, name: &str| {
        let path = "/v1/apps/shop/environments/prod/settings";
        let set = json!({ "set": { "NAME": { "value": name, "public": true } } });
        assert_eq!(got(edge.api(Method::PATCH, path).json(&set)).await.status, StatusCode::OK);
    };
    set(&edge, "first").await;
    edge.push_backend(&token, ("shop", "prod"), &build("1")).await.unwrap();
    let mut visitor = Visitor::new(&edge).await;
    edge.push_backend(&token, ("shop", "prod"), &build("2")).await.unwrap();
    set(&edge, "second").await;
    let mut other = Visitor::new(&edge).await;
    let edge = edge.restart().await;
    let name = "process.env.NAME";
    assert_eq!((visitor.evaluates(&edge, name).await, other.evaluates(&edge, name).await), quoted("first", "second"));
    for _ in 0..5 {
        assert_eq!((visitor.sees(&edge).await, visitor.built(&edge).await), ("1".to_owned(), "\"1\"".to_owned()));
        assert_eq!((other.sees(&edge).await, other.built(&edge).await), ("2".to_owned(), "\"2\"".to_owned()));
    }
    // The instance list shows operators the reason for the retained instances.
    let list = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/instances")).await.json::<InstanceList>();
    let warm = list.instances.iter().find(|one| one.state == InstanceState::Warm).unwrap();
    assert_eq!(warm.detail.as_deref(), Some("for visitors who are held on its version"), "{list:?}");
    edge.stop().await;
}
