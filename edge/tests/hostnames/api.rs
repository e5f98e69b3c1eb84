//! Permissions for hostnames, and the API's answers: every row of `docs/hostnames.md`.

use devanture_config::api::{HostnameSet, HostnameSource, Scope};
use devanture_config::problem::Code;
use http::{Method, StatusCode};

use super::{SITE, add, add_canonical, edge, got, list, name_with, names, push, remove};
use crate::hostnames::dns::Dns;
use crate::support::RunningEdge;

/// Edge that resolves by an empty DNS server.
async fn edge_with(dns: &Dns) -> RunningEdge {
    let edge = edge().with_toml(&dns.toml()).start().await;
    push(&edge, "shop", SITE, "").await;
    push(&edge, "other", &[("index.html", b"other")], "").await;
    edge
}

#[tokio::test]
async fn who_may_have_which_name() {
    let dns = Dns::start().await;
    let edge = edge_with(&dns).await;
    add(&edge, "other", "*.others.example").await;
    add(&edge, "other", "taken.example").await;
    add(&edge, "other", "www.below.example").await;
    let all = edge.admin_token().to_owned();
    let admin = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let push = edge.token_for(Scope::Push, Some("shop"), None).await;
    let staging = edge.token_for(Scope::Admin, Some("shop"), Some("staging")).await;
    let read = edge.token_for(Scope::Read, Some("shop"), None).await;
    let stranger = edge.token_for(Scope::Admin, Some("other"), None).await;
    use Code::{Forbidden, HostnameTaken, HostnameUnproven, NameReserved, NotFound};
    type Tries<'t> = &'t [(&'t str, Option<Code>)];
    #[rustfmt::skip]
    let cases: &[(&str, Tries<'_>)] = &[
        // Below the edge's domains, or equal to one: operator only.
        ("other-name.localhost", &[(&push, Some(Forbidden)), (&admin, Some(Forbidden)), (&all, None)]),
        ("localhost",            &[(&push, Some(NameReserved)), (&admin, Some(NameReserved)), (&all, Some(NameReserved))]),
        ("*.localhost",          &[(&push, Some(Forbidden)), (&admin, Some(Forbidden)), (&all, None)]),
        ("*.x.localhost",        &[(&push, Some(Forbidden)), (&admin, Some(Forbidden)), (&all, None)]),
        ("*.example.org",        &[(&push, Some(Forbidden)), (&staging, Some(Forbidden)), (&admin, None)]),
        ("*.example.net",        &[(&all, None)]),
        // A whole top-level domain contains names of others.
        ("*.example",            &[(&push, Some(Forbidden)), (&admin, Some(Forbidden)), (&all, None)]),
        ("www.example.org",      &[(&push, Some(HostnameUnproven)), (&admin, None), (&push, None)]),
        ("www.example.net",      &[(&push, Some(HostnameUnproven)), (&all, None)]),
        // Another app's wildcard covers the name, so that the name would take visitors from the other app.
        ("a.others.example",     &[(&push, Some(HostnameUnproven)), (&admin, Some(HostnameUnproven)), (&all, None)]),
        ("a.b.others.example",   &[(&push, Some(HostnameUnproven)), (&admin, None)]),
        ("below.example",        &[(&push, Some(HostnameUnproven)), (&admin, Some(HostnameUnproven))]),
        ("*.below.example",      &[(&admin, Some(Forbidden))]),
        // The default name of the other app.
        ("other.localhost",      &[(&push, Some(Forbidden)), (&admin, Some(Forbidden)), (&all, Some(HostnameTaken))]),
        ("qa--other.localhost",  &[(&all, Some(HostnameTaken))]),
        ("qa--none.localhost",   &[(&all, None)]),
        // Cookies of a name's visitors may apply to all names below.
        ("www.taken.example",    &[(&push, Some(HostnameUnproven)), (&admin, Some(HostnameUnproven)), (&all, None)]),
        ("a.b.taken.example",    &[(&push, Some(HostnameUnproven)), (&admin, Some(HostnameUnproven))]),
        ("*.taken.example",      &[(&push, Some(Forbidden)), (&admin, Some(Forbidden)), (&all, None)]),
        ("taken.example",        &[(&push, Some(HostnameTaken)), (&admin, Some(HostnameTaken))]),
        ("*.others.example",     &[(&push, Some(HostnameTaken)), (&admin, Some(HostnameTaken))]),
        ("new.example",          &[(&read, Some(Forbidden)), (&staging, Some(Forbidden)), (&stranger, Some(NotFound))]),
    ];
    for (host, tokens) in cases {
        for (step, (token, expected)) in tokens.iter().enumerate() {
            for query in ["?dry_run=true", ""] {
                let answer = name_with(&edge, token, ("PUT", "shop", "prod", &format!("{host}{query}")), "").await;
                let code = (answer.status != StatusCode::OK).then(|| answer.code());
                assert_eq!(code, *expected, "{host}{query}, step {step}: {}", answer.text());
            }
        }
    }
    assert!(edge.token_for(Scope::Push, Some("none"), None).await.len() > 1);
    let missing = name_with(&edge, &all, ("PUT", "none", "prod", "www.example.org"), "").await;
    assert_eq!(missing.code(), NotFound);
    edge.stop().await;
}

#[tokio::test]
async fn an_admin_for_every_app_moves_a_name_and_so_does_a_token_for_both_environments() {
    let dns = Dns::start().await;
    let edge = edge_with(&dns).await;
    add_canonical(&edge, "other", "www.example.org").await;
    assert_eq!(edge.get("www.example.org", "/").await.text(), "other");
    let moved = add(&edge, "shop", "www.example.org").await;
    let from = moved.moved_from.unwrap();
    assert_eq!((from.app.as_str(), from.environment.as_str(), moved.changed), ("other", "prod", true));
    assert_eq!(edge.get("www.example.org", "/").await.text(), "home");
    assert!(names(&edge, "other").await.is_empty());

    let both = edge.token_for(Scope::Push, Some("shop"), None).await;
    let staging = edge.token_for(Scope::Push, Some("shop"), Some("staging")).await;
    let ask = ("PUT", "shop", "staging", "www.example.org");
    assert_eq!(name_with(&edge, &staging, ask, "").await.code(), Code::HostnameTaken);
    let moved: HostnameSet = name_with(&edge, &both, ask, "").await.json();
    assert_eq!(moved.moved_from.unwrap().environment.as_str(), "prod");
    assert_eq!(dns.questions(), 0, "within one app a name is proven already");
    // A hostname that requires an admin requires an admin to move, too.
    add(&edge, "shop", "*.example.org").await;
    let ask = ("PUT", "shop", "staging", "*.example.org");
    assert_eq!(name_with(&edge, &both, ask, "").await.code(), Code::HostnameTaken);
    // Staging has no live version: the name waits for the first.
    let edge = edge.restart().await;
    assert!(edge.visit(Method::GET, "www.example.org", "/").send().await.is_err(), "no wildcard has it meanwhile");
    let token = edge.admin_token().to_owned();
    super::push_with(&edge, &token, ("shop", "staging"), &[("index.html", b"staged")], "").await.unwrap();
    assert_eq!(edge.get("www.example.org", "/").await.text(), "staged");
    edge.stop().await;
}

#[tokio::test]
async fn an_exact_name_wins_over_a_wildcard_and_what_the_edge_serves_too() {
    let edge = edge().start().await;
    let version = push(&edge, "shop", SITE, "").await.version.short();
    push(&edge, "other", &[("index.html", b"other")], "").await;
    add(&edge, "shop", "*.example.org").await;
    add(&edge, "other", "www.example.org").await;
    for (host, text) in [("www.example.org", "other"), ("a.example.org", "home"), ("xn--bcher-kva.example.org", "home")]
    {
        assert_eq!(edge.get(host, "/").await.text(), text, "{host}");
    }
    remove(&edge, "other", "www.example.org").await;
    assert_eq!(edge.get("www.example.org", "/").await.text(), "home");
    // A wildcard of the edge's own domain covers all unassigned names.
    add(&edge, "other", "*.localhost").await;
    for (host, text) in [
        ("shop.localhost", "home".to_owned()),
        ("nobody.localhost", "other".to_owned()),
        (&format!("{version}--shop.localhost"), "home".to_owned()),
        ("0123456789--shop.localhost", "other".to_owned()),
    ] {
        assert_eq!(edge.get(host, "/").await.text(), text, "{host}");
    }
    // The wildcard covers no version's host, existing or not.
    for host in
        ["0123456789ab--shop.localhost", "0123456789ab--nobody.localhost", &format!("{version}--other.localhost")]
    {
        assert!(edge.visit(Method::GET, host, "/").send().await.is_err(), "{host}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_name_is_listed_in_both_its_forms_and_with_all_that_is_known_of_it() {
    let edge = edge().start().await;
    let toml = "[env.prod]\nhostnames = [\"example.org\", \"*.example.org\"]\n";
    push(&edge, "shop", SITE, toml).await;
    let set = add(&edge, "shop", "B%C3%9Ccher.Example").await;
    assert_eq!((set.hostname.name.as_str(), set.changed, set.moved_from), ("xn--bcher-kva.example", true, None));
    let again = add(&edge, "shop", "xn--bcher-kva.example").await;
    assert!(!again.changed);
    let list = list(&edge, "shop", "prod").await;
    assert_eq!(list.canonical.as_ref().map(|name| name.as_str()), Some("example.org"));
    let port = edge.https().port();
    let rows: Vec<_> = list
        .hostnames
        .iter()
        .map(|host| {
            let to = host.redirects_to.as_ref().map(|to| to.as_str());
            (host.name.as_str(), host.unicode.as_str(), to, host.source, host.listed, host.url.clone())
        })
        .collect();
    let url = |host: &str| Some(format!("https://{host}:{port}"));
    assert_eq!(
        rows,
        [
            ("*.example.org", "*.example.org", None, HostnameSource::Manifest, true, None),
            ("example.org", "example.org", None, HostnameSource::Manifest, true, url("example.org")),
            (
                "xn--bcher-kva.example",
                "bücher.example",
                Some("example.org"),
                HostnameSource::Api,
                false,
                url("xn--bcher-kva.example")
            ),
        ]
    );
    let status: devanture_config::api::Status =
        got(edge.api(Method::GET, "/v1/apps/shop/environments/prod")).await.json();
    assert_eq!(status.hostnames, ["*.example.org", "example.org", "xn--bcher-kva.example"]);
    let token = edge.admin_token().to_owned();
    let wild = name_with(&edge, &token, ("PUT", "shop", "prod", "%2A.example.net"), "{\"canonical\":true}").await;
    assert_eq!(wild.code(), Code::BadRequest);
    for bad in ["%2A", "a..b", "127.0.0.1", "%5B::1%5D", "a%2Fb", "-a.example", "%FF.example", "a.example:443"] {
        assert_eq!(name_with(&edge, &token, ("PUT", "shop", "prod", bad), "").await.code(), Code::BadRequest, "{bad}");
    }
    let ask = ("PUT", "shop", "prod", "www.example.org?dry_run=maybe");
    assert_eq!(name_with(&edge, &token, ask, "").await.code(), Code::BadRequest);
    edge.stop().await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_come_of_it_and_changes_nothing() {
    let edge = edge().start().await;
    push(&edge, "shop", SITE, "[env.prod]\nhostnames = [\"example.org\"]\n").await;
    let token = edge.admin_token().to_owned();
    let ask = ("PUT", "shop", "prod", "www.example.org?dry_run=true");
    let set: HostnameSet = name_with(&edge, &token, ask, "{\"canonical\":true}").await.json();
    assert!(set.dry_run && set.changed && set.hostname.canonical);
    let ask = ("DELETE", "shop", "prod", "example.org?dry_run=true");
    let removed: devanture_config::api::HostnameRemoved = name_with(&edge, &token, ask, "").await.json();
    assert!(removed.dry_run && removed.hint.is_some() && removed.canonical.is_none());
    assert_eq!(names(&edge, "shop").await, ["=example.org"]);
    edge.stop().await;
}

#[tokio::test]
async fn a_name_is_taken_away_at_once_and_the_answer_says_what_takes_it_again() {
    let edge = edge().start().await;
    let toml = "[env.prod]\nhostnames = [\"example.org\"]\n";
    push(&edge, "shop", SITE, toml).await;
    add(&edge, "shop", "www.example.org").await;
    assert_eq!(remove(&edge, "shop", "www.example.org").await.hint, None);
    let removed = remove(&edge, "shop", "Example.ORG").await;
    assert!(removed.hint.unwrap().contains("devanture.toml"));
    // The change reaches an open connection of a visitor, too.
    assert_eq!(edge.get("shop.localhost", "/").await.status, StatusCode::OK);
    assert!(edge.visit(Method::GET, "example.org", "/").send().await.is_err(), "no certificate is made for it");
    let token = edge.admin_token().to_owned();
    for host in ["example.org", "shop.localhost"] {
        let gone = name_with(&edge, &token, ("DELETE", "shop", "prod", host), "").await;
        assert_eq!(gone.code(), Code::NotFound, "{host}");
    }
    // A push of the same files changes nothing live.
    let again = push(&edge, "shop", SITE, toml).await;
    assert!(!again.switched, "{again:?}");
    assert_eq!(names(&edge, "shop").await, ["=example.org"]);
    assert_eq!(edge.get("example.org", "/").await.text(), "home");
    remove(&edge, "shop", "example.org").await;
    push(&edge, "shop", &[("index.html", b"next")], toml).await;
    assert_eq!(names(&edge, "shop").await, ["=example.org"]);
    // Another app's name does not exist here, for any token.
    push(&edge, "other", SITE, "").await;
    let own = edge.token_for(Scope::Admin, Some("other"), None).await;
    let ask = ("DELETE", "other", "prod", "example.org");
    assert_eq!(name_with(&edge, &own, ask, "").await.code(), Code::NotFound);
    assert_eq!(edge.get("example.org", "/").await.text(), "next");
    edge.stop().await;
}

#[tokio::test]
async fn an_environment_has_only_so_many_names() {
    let edge = edge().with_limit("hostnames_max", 2).start().await;
    push(&edge, "shop", SITE, "[env.prod]\nhostnames = [\"a.example\"]\n").await;
    add(&edge, "shop", "b.example").await;
    let token = edge.admin_token().to_owned();
    let third = name_with(&edge, &token, ("PUT", "shop", "prod", "c.example"), "").await;
    assert_eq!(third.code(), Code::HostnamesFull);
    // An existing name counts once.
    assert!(!add(&edge, "shop", "b.example").await.changed);
    let toml = "[env.prod]\nhostnames = [\"a.example\", \"c.example\"]\n";
    let place = ("shop", "prod");
    let refused = super::push_with(&edge, &token, place, &[("index.html", b"next")], toml).await.unwrap_err();
    assert_eq!(refused.code, Code::HostnamesFull);
    assert_eq!(edge.get("a.example", "/").await.text(), "home");
    edge.stop().await;
}

#[tokio::test]
async fn of_changes_that_come_at_once_each_knows_of_the_others() {
    let edge = edge().with_limit("hostnames_max", 3).start().await;
    push(&edge, "shop", SITE, "").await;
    let token = edge.admin_token().to_owned();
    let canonical = serde_json::json!({"canonical": true}).to_string();
    for round in 0..4 {
        let hosts: Vec<String> = (0..6).map(|number| format!("n{number}.r{round}.example")).collect();
        let asks = hosts.iter().map(|host| name_with(&edge, &token, ("PUT", "shop", "prod", host), &canonical));
        let answers = futures_util::future::join_all(asks).await;
        let taken = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
        let full = answers.iter().filter(|answer| answer.status != StatusCode::OK).map(|answer| answer.code());
        assert!(full.into_iter().all(|code| code == Code::HostnamesFull), "{answers:?}");
        let all = names(&edge, "shop").await;
        assert_eq!((taken, all.len()), (3, 3), "{all:?}");
        // Exactly one name is marked.
        let marked = all.iter().find_map(|name| name.strip_prefix('=')).unwrap();
        let others = all.iter().filter_map(|name| name.strip_prefix('>'));
        for (name, is_marked) in std::iter::once((marked, true)).chain(others.map(|name| (name, false))) {
            let ask = ("PUT", "shop", "prod", name);
            let set: HostnameSet = name_with(&edge, &token, ask, "{\"canonical\":false}").await.json();
            assert_eq!(set.changed, is_marked, "{name}");
        }
        for name in names(&edge, "shop").await {
            remove(&edge, "shop", name.trim_start_matches(['=', '>'])).await;
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_alias_is_not_given_the_name_of_an_environment_that_has_hostnames() {
    let edge = edge().start().await;
    let version = push(&edge, "shop", SITE, "").await.version;
    let token = edge.admin_token().to_owned();
    name_with(&edge, &token, ("PUT", "shop", "next", "next.example"), "").await;
    let alias = || edge.api(Method::PUT, "/v1/apps/shop/aliases/next").json(&serde_json::json!({"version": version}));
    assert_eq!(got(alias()).await.code(), Code::AliasTaken);
    assert!(edge.visit(Method::GET, "next.example", "/").send().await.is_err());
    name_with(&edge, &token, ("DELETE", "shop", "next", "next.example"), "").await;
    assert_eq!(got(alias()).await.status, StatusCode::OK);
    let refused = name_with(&edge, &token, ("PUT", "shop", "next", "next.example"), "").await;
    assert_eq!(refused.code(), Code::AliasTaken);
    edge.stop().await;
}

#[tokio::test]
async fn of_two_apps_that_ask_for_a_name_at_once_one_gets_it() {
    let edge = edge().start().await;
    push(&edge, "shop", SITE, "").await;
    push(&edge, "other", SITE, "").await;
    let shop = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let other = edge.token_for(Scope::Admin, Some("other"), None).await;
    for round in 0..8 {
        let host = format!("n{round}.example");
        let (one, two) = tokio::join!(
            name_with(&edge, &shop, ("PUT", "shop", "prod", &host), ""),
            name_with(&edge, &other, ("PUT", "other", "prod", &host), ""),
        );
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{host}: {one:?} {two:?}");
    }
    edge.stop().await;
}
