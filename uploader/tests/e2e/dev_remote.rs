//! `devanture dev` with one half of the site in an environment: `--api remote` and `--front remote`.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};

use super::backends::echo;
use super::dev::BACKEND;
use crate::support::dev::{Dev, PAGE, Project, TIME_MAX};
use crate::support::edge::{Edge, Ran, client_of, edge};
use crate::support::websocket;

/// The local `devanture.toml`: the address of production's backend is unreachable from here.
const LOCAL: &str = "app = \"shop\"\nwww = \"www\"\n[[routes]]\npath = \"/api/*\"\nto = \"http://203.0.113.1\"\n\
                     strip_prefix = true\n[[routes]]\npath = \"/socket\"\nto = \"http://203.0.113.1\"\n";

/// Starts a backend for one connection, which echoes a message.
async fn echoing_socket() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let message = socket.next().await.unwrap().unwrap();
        socket.send(message).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    format!("http://{address}")
}

/// Pushes a front with routes to `api` and `socket` to staging.
fn push_to_staging(edge: &Edge, api: &str, socket: &str) {
    let remote = Project::new();
    remote.put(
        "devanture.toml",
        &format!(
            "app = \"shop\"\nwww = \"www\"\n[[routes]]\npath = \"/api/*\"\nto = \"{api}\"\nstrip_prefix = true\n\
             [[routes]]\npath = \"/socket\"\nto = \"{socket}\"\n"
        ),
    );
    remote.put("www/index.html", &PAGE.replace("one", "the page of staging"));
    remote.put("www/404.html", "nothing in staging");
    let ran = Ran::of(edge.command(&remote.path(), "shop", &["push", "--env", "staging"]).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
}

/// `dev` in `project`, with the edge of staging in its environment.
fn command(project: &Project, edge: &Edge, arguments: &[&str]) -> Command {
    let mut command = project.command(arguments);
    command
        .env("DEVANTURE_URL", format!("https://{}", edge.admin()))
        .env("DEVANTURE_TOKEN", &edge.token)
        .env("DEVANTURE_CA", edge.ca());
    command
}

/// Returns the lines of the head received by a backend.
fn head_of(printed: &Value) -> Vec<String> {
    printed["head"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_ascii_lowercase()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_front_uses_the_backend_of_an_environment() {
    let edge = edge().start();
    push_to_staging(&edge, &format!("http://{}", echo()), &echoing_socket().await);
    edge.json("shop", &["env", "set", "GREETING=hello", "--public", "--env", "staging"]);
    let project = Project::new();
    project.put("devanture.toml", LOCAL);
    let dev = Dev::start(command(&project, &edge, &["--env", "staging", "--api", "remote"]));
    dev.wait_for("live");
    let remote = edge.url("staging--shop.localhost", "");
    assert_eq!(dev.routes, json!([{ "path": "/api/*", "to": remote }, { "path": "/socket", "to": remote }]));
    assert!(dev.text("/").await.contains("<p>one</p>"), "the front is that of the folder");
    assert_eq!(dev.text("/.well-known/devanture/env.json").await, "{\"GREETING\":\"hello\"}");

    let client = client_of(&dev.ca, true);
    for (origin, expected) in [(dev.url.as_str(), remote.as_str()), ("https://evil.example", "https://evil.example")] {
        let request = client.post(format!("{}/api/cart/201?a=%2F", dev.url)).header("origin", origin);
        let answer = request.header("cookie", "__Host-s=1").body("body").send().await.unwrap();
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers().get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
        let printed: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let head = head_of(&printed);
        assert_eq!((head[0].as_str(), &printed["body"]), ("post /cart/201?a=%2f http/1.1", &json!("body")));
        let has = |line: &str| head.iter().any(|l| l == line);
        assert!(has(&format!("host: {}", remote.trim_start_matches("https://"))), "{head:#?}");
        assert!(has(&format!("origin: {expected}")) && has("cookie: __host-s=1"), "{head:#?}");
        assert!(!head.iter().any(|line| line.starts_with("authorization")), "{head:#?}");
        assert!(!printed.to_string().contains(&edge.token), "no credential goes to where visitors go");
    }

    let mut open = websocket::open(&client_of(&dev.ca, false), &format!("{}/socket", dev.url)).await;
    open.send("hello".into()).await.unwrap();
    assert_eq!(open.next().await.unwrap().unwrap().into_text().unwrap().as_str(), "hello");
    drop(open);
    drop(edge);
    let answer = dev.get("/api/x").await;
    assert_eq!(answer.status(), 502, "the environment is gone");
    assert!(answer.text().await.unwrap().contains(&format!("{remote} cannot be reached")));
    assert_eq!(dev.get("/").await.status(), 200, "the front is served whatever the environment does");
    assert_eq!(dev.end("-INT"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_backend_gets_the_calls_of_a_remote_front() {
    let edge = edge().start();
    push_to_staging(&edge, "http://127.0.0.1:9", "http://127.0.0.1:9");
    let project = Project::new();
    project.put(
        "devanture.toml",
        "app = \"shop\"\nwww = \"www\"\nnot_found = \"single-page-application\"\n[server]\ndir = \"server\"\n\
         command = [\"python3\", \"main.py\"]\nroutes = [\"/api/*\"]\n\
         [[redirects]]\nfrom = \"/moved\"\nto = \"/elsewhere\"\n",
    );
    project.put("server/main.py", &BACKEND.replace("WORD", "local"));
    // The folder of the pages is not needed.
    std::fs::remove_dir_all(project.path().join("www")).unwrap();
    let dev = Dev::start(command(&project, &edge, &["--env", "staging", "--front", "remote"]));
    dev.wait_for("live");
    assert!(dev.text("/").await.contains("<p>the page of staging</p>"));
    assert_eq!(dev.text("/style.css").await, "p { color: rgb(1, 2, 3) }");
    for missing in ["/gone", "/moved"] {
        let answer = dev.get(missing).await;
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.text().await.unwrap(), "nothing in staging");
    }
    // The start takes a moment.
    let until = tokio::time::Instant::now() + TIME_MAX;
    loop {
        let answer = dev.get("/api/x").await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        if status == 200 && text.contains(" local ") {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(dev.end("-INT"), Some(0));
}

#[test]
fn a_remote_half_is_refused_where_it_would_leak_or_mean_nothing() {
    let edge = edge().start();
    let project = Project::new();
    project.put("devanture.toml", LOCAL);
    let refused = |command: &mut Command| {
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.stdout.lines().count(), 1, "{ran:#?}");
        let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
        (ran.code, printed["error"]["code"].as_str().unwrap().to_owned())
    };
    let usage = (Some(2), "usage".to_owned());
    assert_eq!(refused(&mut command(&project, &edge, &["--api", "remote", "--front", "remote"])), usage);
    assert_eq!(refused(&mut project.command(&["--api", "remote"])), usage, "no edge is set");
    assert_eq!(refused(&mut command(&project, &edge, &["--api", "remote"])).1, "not_found");
    edge.push("shop", &project.path().join("www"));
    let nothing = refused(&mut command(&project, &edge, &["--env", "staging", "--api", "remote"])).1;
    assert!(["nothing_live", "not_found"].contains(&nothing.as_str()), "{nothing}");

    // An address named by a file of the project gets neither the token nor a connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    project.put("devanture.toml", &format!("url = \"http://{}\"\n{LOCAL}", listener.local_addr().unwrap()));
    let mut dev = project.command(&["--api", "remote"]);
    assert_eq!(refused(dev.env("DEVANTURE_TOKEN", &edge.token)), (Some(2), "untrusted_source".to_owned()));
    assert!(listener.accept().is_err(), "nobody was connected");
}
