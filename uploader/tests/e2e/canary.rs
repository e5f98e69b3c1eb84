//! Canaries with both real programs: the front and the backend of a version for a share of the visitors.

use serde_json::Value;

use super::halves::worker;
use crate::support::edge::{Edge, edge};
use crate::support::managed::{Project, eventually};

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// Returns a visitor's page, and the cookie of the answer.
async fn visit(edge: &Edge, path: &str, cookie: Option<&str>) -> (String, Option<String>) {
    let request = edge.client(true).get(edge.url("game.localhost", path));
    let request = request.header("accept", "text/html").header("user-agent", BROWSER);
    let request = match cookie {
        Some(cookie) => request.header("cookie", cookie),
        None => request,
    };
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let given = answer.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
    (answer.text().await.unwrap(), given.map(|cookie| cookie.split(';').next().unwrap().to_owned()))
}

/// Returns the cookies of a visitor with the page `old`, and of a visitor with `new`.
async fn one_on_each_side(edge: &Edge, new: &str) -> [String; 2] {
    let mut sides = [None, None];
    while sides.iter().any(Option::is_none) {
        let (text, cookie) = visit(edge, "/", None).await;
        sides[usize::from(text.contains(new))] = cookie;
    }
    sides.map(Option::unwrap)
}

fn canary(project: &Project, edge: &Edge, arguments: &[&str]) -> Value {
    let ran = project.run(edge, &[&["canary"], arguments, &["--json"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_gets_the_page_and_the_backend_of_one_version_until_the_canary_is_finished() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "blue", "instances = 1");
    project.front("blue");
    project.backend("blue");
    let blue = project.push(&edge);
    project.front("green");
    project.backend("green");
    let pushed = project.run(&edge, &["push", "--canary", "50", "--json"]);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    let pushed: Value = pushed.json();
    assert_eq!((&pushed["canary"]["version"], &pushed["canary"]["share"]), (&pushed["version"], &50.into()));
    let sides = one_on_each_side(&edge, "green").await;
    for _ in 0..5 {
        for (cookie, name) in sides.iter().zip(["blue", "green"]) {
            for path in ["/", "/api/who"] {
                let (text, given) = visit(&edge, path, Some(cookie)).await;
                assert!(text.contains(name) && given.is_none(), "{path} of {name}: {text}");
            }
        }
    }
    let status = canary(&project, &edge, &[]);
    assert_eq!(status["live"], blue.as_str());
    assert!(status["canary"]["counts"]["canary"]["requests"].as_u64() >= Some(10), "{status}");
    let text = project.run(&edge, &["canary"]);
    assert!(text.stdout.contains("50 % of the visitors"), "{text:?}");
    let text = project.run(&edge, &["status"]);
    assert!(text.stdout.contains("50 % of the visitors get"), "{text:?}");
    assert_eq!(canary(&project, &edge, &["75"])["canary"]["share"], 75);
    project.fails(&edge, "canary_running");
    let finished = canary(&project, &edge, &["finish"]);
    assert_eq!((&finished["version"], &finished["previous"]), (&pushed["version"], &blue.as_str().into()));
    for cookie in &sides {
        for path in ["/", "/api/who"] {
            assert!(visit(&edge, path, Some(cookie)).await.0.contains("green"));
        }
    }
    assert!(project.run(&edge, &["canary"]).stdout.contains("no canary runs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_canary_gives_its_visitors_the_live_backend_again() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "blue", "instances = 1");
    project.front("blue");
    project.backend("blue");
    project.push(&edge);
    project.backend("green");
    let bad = project.run(&edge, &["push", "--auto", "50,25", "--json"]);
    assert_eq!(bad.code, Some(2), "{bad:?}");
    let pushed = project.run(&edge, &["push", "--auto", "50,100", "--every", "1h"]);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    assert!(pushed.stdout.contains("finish at "), "{pushed:?}");
    let cookie = eventually("a visitor of the canary", async || {
        let (_, cookie) = visit(&edge, "/", None).await;
        let (text, _) = visit(&edge, "/api/who", cookie.as_deref()).await;
        cookie.filter(|_| text.contains("green"))
    })
    .await;
    project.front("third");
    project.fails(&edge, "canary_running");
    assert_eq!(canary(&project, &edge, &["abort", "--reason", "It is slow."])["canary"], Value::Null);
    assert!(visit(&edge, "/api/who", Some(&cookie)).await.0.contains("blue"));
    let history = project.run(&edge, &["history", "--json"]);
    assert!(history.stdout.contains("It is slow."), "{history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_begins_with_a_version_that_the_edge_has() {
    let edge = edge().start();
    let project = Project::new("game", "blue", "");
    // Pages alone.
    project.toml("");
    let blue = project.push(&edge);
    project.front("green");
    let green = project.push(&edge);
    for (arguments, sentence) in [
        (&["--canary-cookie", "session"][..], "this switch begins none"),
        (&["--auto", "5,100", "--watch", "60s"], "neither with --watch nor with --rollout"),
        (&["--canary", "10", "--rollout", "one-first"], "neither with --watch nor with --rollout"),
        (&["--auto", "5,100", "--dry-run"], "--dry-run is of a switch"),
        (&["--auto", "25,5"], "--auto: the steps of a canary"),
        (&["--canary", "10", "--dry-run"], "cannot be used with"),
        (&["--canary", "100"], "from 1 to 99"),
    ] {
        let ran = project.run(&edge, &[&["switch", &blue], arguments].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains(sentence), "{arguments:?}: {ran:?}");
    }
    for (arguments, code) in [
        (["switch", "abcdef", "--canary", "50", "--json"], "not_found"),
        (["switch", &green, "--canary", "50", "--json"], "bad_request"),
    ] {
        let ran = project.run(&edge, &arguments);
        assert_eq!((ran.code, ran.problem()), (Some(1), code.to_owned()), "{arguments:?}: {ran:?}");
    }
    let begun = project.run(&edge, &["switch", &blue, "--canary", "50", "--if-live", &green, "--json"]);
    assert_eq!(begun.code, Some(0), "{begun:?}");
    let begun = begun.json();
    assert_eq!((&begun["live"], &begun["canary"]["version"]), (&green.as_str().into(), &blue.as_str().into()));
    assert_eq!(begun["canary"]["share"], 50);
    for (cookie, name) in one_on_each_side(&edge, "blue").await.iter().zip(["green", "blue"]) {
        let (text, given) = visit(&edge, "/", Some(cookie)).await;
        assert!(text.contains(name) && given.is_none(), "{name}: {text}");
    }
    let running = project.run(&edge, &["switch", &blue, "--canary", "10"]);
    assert!(running.code == Some(1) && running.stderr.contains("[canary_running]"), "{running:?}");
    assert_eq!(canary(&project, &edge, &["abort"])["canary"], Value::Null);
    let begun =
        project.run(&edge, &["switch", &blue, "--auto", "5,100", "--every", "1h", "--canary-cookie", "session"]);
    assert_eq!(begun.code, Some(0), "{begun:?}");
    for expected in ["5 % of the visitors", "session", "finish at ", "devanture canary finish"] {
        assert!(begun.stdout.contains(expected), "{expected}: {begun:?}");
    }
    assert_eq!(canary(&project, &edge, &["finish"])["version"], blue.as_str());
}

/// Otherwise the work would be done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_traffic_is_in_a_canary_only_where_it_is_that_of_the_live_version() {
    let edge = edge().with_runner().start();
    let project = worker("blue");
    let blue = project.push(&edge);
    project.front("green");
    let pushed = project.run(&edge, &["push", "--canary", "50", "--json"]);
    assert_eq!(pushed.code, Some(0), "the backend is the same: {pushed:#?}");
    canary(&project, &edge, &["abort"]);
    project.write("out/name.txt", "another backend");
    let pushed = project.run(&edge, &["push", "--canary", "50", "--json"]);
    assert_eq!(pushed.problem(), "bad_request", "{pushed:#?}");
    assert!(
        pushed.json()["error"]["message"].as_str().unwrap().starts_with("The process `worker` gets no traffic"),
        "{pushed:#?}"
    );
    let (_, environment) = edge.api("GET", "/v1/apps/game/environments/prod", None).await;
    assert_eq!((environment["version"].as_str(), &environment["canary"]), (Some(blue.as_str()), &Value::Null));
}
