//! A token of one environment against the other environments of the app.

use devanture_config::Manifest;
use devanture_config::api::{
    AliasList, BeginDeploy, DeployBegun, DeployOptions, DeployReport, Diff, Scope, Source, Status,
};
use devanture_config::problem::Code;
use devanture_config::site_toml::{Route, Serving};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Files, Got, RunningEdge, edge, got, manifest};

/// API request below the app `shop`.
async fn call(edge: &RunningEdge, token: &str, method: Method, path: &str, body: Value) -> Got {
    let request = edge.ask(method, &format!("/v1/apps/shop/{path}"), token);
    got(if body.is_null() { request } else { request.json(&body) }).await
}

async fn token(edge: &RunningEdge, scope: Scope, environment: &str) -> String {
    edge.token_for(scope, Some("shop"), Some(environment)).await
}

fn code_of(answer: &Got) -> Option<Code> {
    (!answer.status.is_success()).then(|| answer.code())
}

/// Starts a push of one page and uploads the page.
async fn begin(edge: &RunningEdge, token: &str, environment: &str, alias: Option<&str>, text: &str) -> Got {
    let options = DeployOptions { alias: alias.map(|name| name.parse().unwrap()), ..DeployOptions::default() };
    let begin =
        BeginDeploy { manifest: manifest(&[("index.html", text.as_bytes())]), source: Source::default(), options };
    let path = format!("environments/{environment}/deploys");
    let answer = call(edge, token, Method::POST, &path, serde_json::to_value(begin).unwrap()).await;
    if answer.status.is_success() {
        let begun: DeployBegun = answer.json();
        for digest in &begun.missing {
            let path = format!("/v1/apps/shop/blobs/{digest}?deploy={}", begun.deploy);
            let sent = got(edge.ask(Method::PUT, &path, token).body(text.to_owned())).await;
            assert_eq!(sent.status, StatusCode::NO_CONTENT, "{sent:?}");
        }
    }
    answer
}

async fn push(edge: &RunningEdge, token: &str, environment: &str, alias: Option<&str>, text: &str) -> Got {
    let begun = begin(edge, token, environment, alias, text).await;
    if !begun.status.is_success() {
        return begun;
    }
    finish(edge, token, &begun.json::<DeployBegun>().deploy).await
}

async fn finish(edge: &RunningEdge, token: &str, deploy: &str) -> Got {
    call(edge, token, Method::POST, &format!("deploys/{deploy}/finish"), Value::Null).await
}

async fn names(edge: &RunningEdge, token: &str) -> Vec<String> {
    let list: AliasList = call(edge, token, Method::GET, "aliases?limit=1", Value::Null).await.json();
    let (mut names, mut next) = (list.aliases, list.next);
    while let Some(after) = next {
        let path = format!("aliases?limit=1&after={after}");
        let list: AliasList = call(edge, token, Method::GET, &path, Value::Null).await.json();
        names.extend(list.aliases);
        next = list.next;
    }
    names.into_iter().map(|alias| alias.name.to_string()).collect()
}

#[tokio::test]
async fn a_token_for_previews_leaves_the_aliases_that_the_app_set_itself() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let (admin, preview) = (edge.admin_token(), token(&edge, Scope::Push, "preview").await);
    let reader = token(&edge, Scope::Read, "preview").await;
    let version = edge.live("shop").await.unwrap();
    let set = || json!({ "version": version });
    for name in ["beta", "zeta"] {
        assert_eq!(call(&edge, admin, Method::PUT, &format!("aliases/{name}"), set()).await.status, StatusCode::OK);
    }
    // A push to a branch alias is a preview, with any token.
    push(&edge, admin, "preview", Some("feature-x"), "by hand").await.json::<DeployReport>();
    push(&edge, &preview, "preview", Some("feature-x"), "by CI").await.json::<DeployReport>();
    push(&edge, &preview, "preview", Some("feature-y"), "by CI").await.json::<DeployReport>();
    let of = |path: &'static str| (path, call(&edge, &preview, Method::DELETE, path, Value::Null));
    for path in ["aliases/beta", "aliases/zeta"] {
        assert_eq!(call(&edge, &preview, Method::PUT, path, set()).await.code(), Code::Forbidden, "{path}");
        assert_eq!(of(path).1.await.code(), Code::Forbidden, "{path}");
        for token in [&preview, &reader] {
            assert_eq!(call(&edge, token, Method::GET, path, Value::Null).await.code(), Code::Forbidden, "{path}");
        }
    }
    let refused = push(&edge, &preview, "preview", Some("beta"), "taken").await.problem();
    assert_eq!(refused.code, Code::Forbidden);
    assert!(refused.detail.contains("beta"), "{}", refused.detail);
    for token in [&preview, &reader] {
        assert_eq!(names(&edge, token).await, ["feature-x", "feature-y"]);
    }
    assert_eq!(names(&edge, admin).await, ["beta", "feature-x", "feature-y", "zeta"]);
    let status: Status = call(&edge, &reader, Method::GET, "environments/preview", Value::Null).await.json();
    let places: Vec<&str> = status.places.iter().map(|place| place.name.as_str()).collect();
    assert_eq!(places, ["feature-x", "feature-y"], "neither prod nor what the app set itself");
    assert_eq!(edge.get("beta--shop.localhost", "/").await.text(), "live");
    edge.stop().await;
}

#[tokio::test]
async fn an_alias_that_is_set_by_hand_while_ci_pushes_stays_as_it_was_set() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let (admin, preview) = (edge.admin_token(), token(&edge, Scope::Push, "preview").await);
    let version = edge.live("shop").await.unwrap();
    let set = || json!({ "version": version });
    for before in [None, Some("by CI before")] {
        if let Some(text) = before {
            push(&edge, &preview, "preview", Some("beta"), text).await.json::<DeployReport>();
        }
        let begun: DeployBegun = begin(&edge, &preview, "preview", Some("beta"), "by CI").await.json();
        assert_eq!(call(&edge, admin, Method::PUT, "aliases/beta", set()).await.status, StatusCode::OK);
        assert_eq!(finish(&edge, &preview, &begun.deploy).await.code(), Code::Forbidden);
        assert_eq!(edge.get("beta--shop.localhost", "/").await.text(), "live");
        // Once deleted, the name is free again.
        let gone = call(&edge, admin, Method::DELETE, "aliases/beta", Value::Null).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
    }
    push(&edge, &preview, "preview", Some("beta"), "by CI").await.json::<DeployReport>();
    assert_eq!(edge.get("beta--shop.localhost", "/").await.text(), "by CI");
    // A token whose environment has the name of an alias may use the alias.
    let own = token(&edge, Scope::Push, "beta").await;
    assert_eq!(call(&edge, &own, Method::PUT, "aliases/beta", set()).await.status, StatusCode::OK);
    assert_eq!(names(&edge, &own).await, ["beta"]);
    assert_eq!(call(&edge, &preview, Method::PUT, "aliases/beta", set()).await.code(), Code::Forbidden);
    edge.stop().await;
}

#[tokio::test]
async fn a_token_compares_what_it_may_read_or_make_live() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let (admin, live) = (edge.admin_token(), edge.live("shop").await.unwrap().to_string());
    let pushed: DeployReport = push(&edge, admin, "staging", None, "staging").await.json();
    let own = pushed.version.to_string();
    let aliased: DeployReport = push(&edge, admin, "preview", Some("feature-x"), "aliased").await.json();
    let aliased = aliased.version.to_string();
    let set = json!({ "version": live });
    assert_eq!(call(&edge, admin, Method::PUT, "aliases/beta", set).await.status, StatusCode::OK);
    let cases: &[(Scope, &str, &[String], &[String])] = &[
        (
            Scope::Read,
            "staging",
            &[format!("from=staging&to={own}"), "from=live&to=staging".to_owned()],
            &[
                "from=staging&to=prod".to_owned(),
                "from=staging&to=live&env=prod".to_owned(),
                "from=staging&to=staging&env=prod".to_owned(),
                format!("from=staging&to={live}"),
                "from=staging&to=feature-x".to_owned(),
                "from=staging&to=beta".to_owned(),
                "from=staging&to=never-was".to_owned(),
            ],
        ),
        (
            Scope::Push,
            "staging",
            // The token may make any of the versions live in the environment.
            &[format!("from=staging&to={live}"), format!("from=live&to={aliased}")],
            &["from=staging&to=prod".to_owned(), "from=staging&to=feature-x".to_owned()],
        ),
        (
            Scope::Push,
            "preview",
            // A pull request shows the changes.
            &[format!("from=live&to={aliased}"), "from=prod&to=feature-x".to_owned()],
            &["from=live&to=beta".to_owned()],
        ),
        (
            Scope::Read,
            "preview",
            &[format!("from=feature-x&to={aliased}")],
            &["from=prod&to=feature-x".to_owned(), format!("from={live}&to=feature-x")],
        ),
        // The token may promote the live version from there.
        (Scope::Promote, "prod", &["from=prod&to=staging".to_owned()], &["from=prod&to=feature-x".to_owned()]),
    ];
    for (scope, environment, allowed, refused) in cases {
        let token = token(&edge, *scope, environment).await;
        let expected =
            allowed.iter().map(|query| (query, None)).chain(refused.iter().map(|q| (q, Some(Code::Forbidden))));
        for (query, expected) in expected {
            let answer = call(&edge, &token, Method::GET, &format!("diff?{query}"), Value::Null).await;
            assert_eq!(code_of(&answer), expected, "{scope} for {environment}: {query}: {}", answer.text());
            if expected.is_none() {
                answer.json::<Diff>();
            }
        }
    }
    edge.stop().await;
}

fn with_route(text: &str, place: Option<&str>, to: &str) -> Manifest {
    let mut manifest = manifest(&[("index.html", text.as_bytes())]);
    let routes = Some(vec![Route::new("/api/*".parse().unwrap(), to.parse().unwrap())]);
    match place {
        Some(place) => {
            manifest.env.insert(place.parse().unwrap(), Serving { routes, ..Serving::default() });
        }
        None => manifest.base.routes = routes,
    }
    manifest
}

async fn begin_as(edge: &RunningEdge, token: &str, environment: &str, manifest: &Manifest) -> Got {
    let begin = BeginDeploy {
        manifest: manifest.clone(),
        source: Source::default(),
        options: DeployOptions { allow_warnings: true, ..DeployOptions::default() },
    };
    let path = format!("environments/{environment}/deploys");
    call(edge, token, Method::POST, &path, serde_json::to_value(begin).unwrap()).await
}

/// An admin of one environment vouches for the hostnames there, but not for the result of a promotion.
#[tokio::test]
async fn an_admin_of_one_environment_is_trusted_in_that_one_alone() {
    let files: Files<'_> = &[("index.html", b"page")];
    let edge = edge().with_app("shop", files).start().await;
    let staging = token(&edge, Scope::Admin, "staging").await;
    let wildcard = |place: &str| {
        let mut manifest = manifest(files);
        let hostnames = Some(vec!["*.example.org".parse().unwrap()]);
        manifest.env.insert(place.parse().unwrap(), Serving { hostnames, ..Serving::default() });
        manifest
    };
    for place in ["prod", "other"] {
        let answer = begin_as(&edge, &staging, "staging", &wildcard(place)).await;
        assert_eq!(answer.code(), Code::Forbidden, "{place}: a wildcard is an admin's to give");
    }
    // Allowed in the admin's own environment.
    let begun: DeployBegun = begin_as(&edge, &staging, "staging", &wildcard("staging")).await.json();
    finish(&edge, &staging, &begun.deploy).await.json::<DeployReport>();
    // An admin of one app or of one environment never vouches for private addresses.
    let whole = edge.token_for(Scope::Admin, Some("shop"), None).await;
    for place in [Some("prod"), Some("other"), Some("staging"), None] {
        let private = with_route("page", place, "http://10.1.2.3:3000");
        for admin in [&staging, &whole] {
            let answer = begin_as(&edge, admin, "staging", &private).await;
            assert_eq!(answer.code(), Code::UpstreamForbidden, "{place:?}");
        }
        // A push by an admin of every app may be promoted anywhere.
        let begun: DeployBegun = begin_as(&edge, edge.admin_token(), "staging", &private).await.json();
        finish(&edge, edge.admin_token(), &begun.deploy).await.json::<DeployReport>();
        let prod = token(&edge, Scope::Promote, "prod").await;
        let answer =
            call(&edge, &prod, Method::POST, "environments/prod/switch", json!({ "version": begun.version })).await;
        assert_eq!(code_of(&answer), None, "{place:?}: {}", answer.text());
    }
    edge.stop().await;
}
