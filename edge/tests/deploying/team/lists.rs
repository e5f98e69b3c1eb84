//! Paged lists, records with entity tags, and conditional requests.

use devanture_config::api::{AliasList, History, HostnameList, PlaceStatus, SwitchReport, WithdrawnList};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use super::{call, push_alias};
use crate::support::{Got, RunningEdge, edge, got};

/// All entries of a list, in pages of two.
async fn paged<T>(
    edge: &RunningEdge,
    path: &str,
    cursor: &str,
    read: impl Fn(&Got) -> (Vec<T>, Option<String>),
) -> Vec<T> {
    let (mut entries, mut after) = (Vec::new(), String::new());
    loop {
        let answer = call(edge, Method::GET, &format!("{path}?limit=2{after}"), None).await;
        let (mut page, next) = read(&answer);
        assert!(page.len() <= 2 && (next.is_none() || page.len() == 2), "{path}");
        entries.append(&mut page);
        match next {
            Some(next) => after = format!("&{cursor}={}", next.replace('/', "%2F")),
            None => return entries,
        }
    }
}

#[tokio::test]
async fn every_list_comes_in_pages_and_refuses_a_cursor_that_no_page_gave() {
    let edge = edge().with_app("shop", &[("index.html", b"0")]).start().await;
    for number in 1..4 {
        edge.push("shop", &[("index.html", format!("{number}").as_bytes())]).await;
    }
    for name in ["one", "two", "three", "zero"] {
        push_alias(&edge, name, "x").await;
    }
    for path in ["/a", "/b", "/c/d", "/e", "/f"] {
        let body = json!({ "path": path });
        assert!(call(&edge, Method::POST, "withdrawn", Some(body)).await.status.is_success());
    }
    for host in ["a.example", "b.example", "c.example"] {
        let path = format!("environments/prod/hostnames/{host}");
        assert!(call(&edge, Method::PUT, &path, None).await.status.is_success(), "{host}");
    }
    let deploys = paged(&edge, "environments/prod/history", "before", |answer| {
        let history: History = answer.json();
        (history.deploys, history.next)
    });
    let versions: Vec<_> = deploys.await.into_iter().map(|deploy| deploy.version).collect();
    assert_eq!(versions.len(), 4);
    assert!(versions.iter().all(|version| versions.iter().filter(|other| *other == version).count() == 1));
    let aliases = paged(&edge, "aliases", "after", |answer| {
        let list: AliasList = answer.json();
        (list.aliases, list.next)
    });
    let names: Vec<String> = aliases.await.into_iter().map(|alias| alias.name.to_string()).collect();
    assert_eq!(names, ["one", "three", "two", "zero"]);
    let withdrawn = paged(&edge, "withdrawn", "after", |answer| {
        let list: WithdrawnList = answer.json();
        (list.withdrawn, list.next)
    });
    let paths: Vec<String> = withdrawn.await.into_iter().map(|entry| entry.path).collect();
    assert_eq!(paths, ["/a", "/b", "/c/d", "/e", "/f"]);
    let hostnames = paged(&edge, "environments/prod/hostnames", "after", |answer| {
        let list: HostnameList = answer.json();
        (list.hostnames, list.next)
    });
    let names: Vec<String> = hostnames.await.into_iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(names, ["a.example", "b.example", "c.example"]);
    for bad in [
        "environments/prod/history?before=x",
        "environments/prod/history?before=",
        "environments/prod/history?before=123456789012345678901",
        "environments/prod/history?limit=x",
        "aliases?after=no--name",
        "aliases?limit=-1",
        "withdrawn?after=a",
        "environments/prod/hostnames?after=a..b",
    ] {
        assert_eq!(call(&edge, Method::GET, bad, None).await.code(), Code::BadRequest, "{bad}");
    }
    edge.stop().await;
}

async fn with(
    edge: &RunningEdge,
    method: Method,
    path: &str,
    field: (&str, &str),
    body: Option<serde_json::Value>,
) -> Got {
    let request = edge.api(method, &format!("/v1/apps/shop/{path}")).header(field.0, field.1);
    got(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

#[tokio::test]
async fn a_record_has_a_tag_and_is_changed_only_as_it_is_expected() {
    let edge = edge().with_app("shop", &[("index.html", b"one")]).start().await;
    let one = edge.live("shop").await.unwrap();
    let two = push_alias(&edge, "other", "two").await.version;
    let (path, to) = ("aliases/feature-x", |version| Some(json!({ "version": version })));
    let made = with(&edge, Method::PUT, path, ("if-none-match", "*"), to(one)).await;
    assert_eq!(made.status, StatusCode::OK);
    let tag = made.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() > 2, "{tag}");
    let again = with(&edge, Method::PUT, path, ("if-none-match", "*"), to(two)).await;
    assert_eq!((again.status, again.code()), (StatusCode::PRECONDITION_FAILED, Code::PreconditionFailed));
    let seen = call(&edge, Method::GET, path, None).await;
    assert_eq!(seen.header("etag"), tag);
    let known = with(&edge, Method::GET, path, ("if-none-match", &tag), None).await;
    assert_eq!((known.status, known.body.len(), known.header("etag")), (StatusCode::NOT_MODIFIED, 0, tag.as_str()));
    let moved = with(&edge, Method::PUT, path, ("if-match", &tag), to(two)).await;
    assert_eq!(moved.json::<PlaceStatus>().version, two);
    assert_ne!(moved.header("etag"), tag);
    for (method, body) in [(Method::PUT, to(one)), (Method::DELETE, None)] {
        let stale = with(&edge, method, path, ("if-match", &tag), body).await;
        assert_eq!(stale.code(), Code::PreconditionFailed);
    }
    assert_eq!(with(&edge, Method::DELETE, path, ("if-match", "nonsense"), None).await.code(), Code::BadRequest);
    assert_eq!(with(&edge, Method::DELETE, path, ("if-match", "*"), None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(with(&edge, Method::DELETE, path, ("if-match", "*"), None).await.code(), Code::PreconditionFailed);
    assert_eq!(with(&edge, Method::DELETE, path, ("if-none-match", "\"1\""), None).await.code(), Code::NotFound);
    edge.stop().await;
}

/// A silent change would ignore the client's condition.
#[tokio::test]
async fn a_change_that_looks_at_no_condition_refuses_one() {
    let edge = edge().with_app("shop", &[("index.html", b"one")]).start().await;
    for (method, path) in [
        (Method::POST, "environments/prod/deploys"),
        (Method::POST, "environments/prod/pause"),
        (Method::POST, "environments/prod/resume"),
        (Method::PUT, "environments/prod/hostnames/www.example.org"),
        (Method::DELETE, "environments/prod/hostnames/www.example.org"),
        (Method::POST, "withdrawn"),
        (Method::DELETE, "withdrawn?path=/index.html"),
        (Method::DELETE, "environments/prod"),
    ] {
        for field in ["if-match", "if-none-match"] {
            let answer = with(&edge, method.clone(), path, (field, "\"1\""), Some(json!({}))).await;
            assert_eq!(answer.code(), Code::BadRequest, "{method} {path}, {field}");
            assert!(answer.text().to_ascii_lowercase().contains(&format!("`{field}`")), "{}", answer.text());
        }
    }
    let settings = Some(json!({ "set": { "A": { "value": "1" } } }));
    let answer = with(&edge, Method::PATCH, "environments/prod/settings", ("if-none-match", "*"), settings).await;
    assert_eq!(answer.code(), Code::BadRequest);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "one");
    edge.stop().await;
}

#[tokio::test]
async fn a_switch_is_made_only_from_what_was_looked_at() {
    let edge = edge().with_app("shop", &[("index.html", b"one")]).start().await;
    let one = edge.live("shop").await.unwrap();
    let seen = call(&edge, Method::GET, "environments/prod", None).await;
    let tag = seen.header("etag").to_owned();
    let known = with(&edge, Method::GET, "environments/prod", ("if-none-match", &tag), None).await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);
    // Another alias changes the status response and leaves the live version.
    let two = push_alias(&edge, "other", "two").await.version;
    let changed = with(&edge, Method::GET, "environments/prod", ("if-none-match", &tag), None).await;
    assert_eq!(changed.status, StatusCode::OK);
    let path = "environments/prod/switch";
    let switched = with(&edge, Method::POST, path, ("if-match", &tag), Some(json!({ "version": two }))).await;
    assert!(switched.json::<SwitchReport>().switched);
    for (path, body) in [
        (path, json!({ "version": one })),
        ("environments/prod/rollback", json!({})),
        ("environments/prod/promote", json!({ "from": "prod" })),
    ] {
        let stale = with(&edge, Method::POST, path, ("if-match", &tag), Some(body)).await;
        assert_eq!(stale.code(), Code::PreconditionFailed, "{path}");
    }
    assert_eq!(edge.live("shop").await, Some(two));
    let lock = "environments/prod/lock";
    assert!(with(&edge, Method::PUT, lock, ("if-none-match", "*"), None).await.status.is_success());
    let again = with(&edge, Method::PUT, lock, ("if-none-match", "*"), None).await;
    assert_eq!(again.code(), Code::PreconditionFailed);
    let tag = call(&edge, Method::GET, lock, None).await.header("etag").to_owned();
    assert_eq!(with(&edge, Method::DELETE, lock, ("if-match", "\"1\""), None).await.code(), Code::PreconditionFailed);
    assert!(with(&edge, Method::DELETE, lock, ("if-match", &tag), None).await.status.is_success());
    edge.stop().await;
}
