//! `upstreams` on the command line, with the backends that answer visitors.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use crate::support::edge::{Edge, Ran, edge};

/// Starts a backend that answers every request with its name; returns the address.
fn backend(name: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if line.is_empty() {
                        write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()).ok();
                    }
                }
            });
        }
    });
    url
}

async fn who(edge: &Edge) -> (u16, String) {
    let answer = edge.client(true).get(edge.url("shop.localhost", "/api/who")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_without_a_push_or_a_restart() {
    let (one, two) = (backend("one"), backend("two"));
    let edge = edge().start();
    let www = tempfile::tempdir().unwrap();
    std::fs::write(www.path().join("index.html"), "home").unwrap();
    let toml = format!(
        "app = \"shop\"\nwww = \".\"\n[[routes]]\npath = \"/api/*\"\nto = \"api\"\n[upstreams]\napi = \"{one}\"\n"
    );
    std::fs::write(www.path().join("devanture.toml"), toml).unwrap();
    let ran = Ran::of(edge.command(www.path(), "shop", &["push"]).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let output = |arguments: &[&str]| {
        let ran = edge.run("shop", arguments);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran.stdout
    };
    let backend_of = |url: &str| url.trim_start_matches("http://").to_owned();
    let pad = |text: &str| format!("{text:<0$}", one.len().max(two.len()));
    assert_eq!(output(&["upstreams"]), format!("  api\n    {one}  {}  up, 0 requests\n", backend_of(&one)));
    let foreseen = output(&["upstreams", "add", "api", &two, "--dry-run"]);
    assert!(foreseen.contains("would") && foreseen.contains("nothing has changed"), "{foreseen}");
    assert_eq!(edge.json("shop", &["upstreams", "list"])["upstreams"][0]["members"].as_array().unwrap().len(), 1);

    assert!(output(&["upstreams", "add", "api", &two]).contains(&format!("{two} is a member of api")));
    assert!(output(&["upstreams", "drain", "api", &one]).contains("0 requests under way"));
    assert_eq!(who(&edge).await, (200, "two".to_owned()));
    assert!(output(&["upstreams", "remove", "api", &one]).contains(&format!("{one} is no member of api")));
    let list = output(&["upstreams", "list"]);
    assert!(list.contains(&pad(&one)) && list.contains("out") && list.contains("removed by"), "{list}");

    // Removing the last member requires a confirmation, and no terminal can ask here.
    let refused = edge.run("shop", &["upstreams", "remove", "api", &two]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("is the last member of api in prod") && refused.stderr.contains("--yes"));
    assert_eq!(who(&edge).await, (200, "two".to_owned()));
    output(&["upstreams", "remove", "api", &two, "--dry-run"]);
    output(&["upstreams", "remove", "api", &two, "--yes"]);
    // A non-member is removed without a confirmation.
    output(&["upstreams", "remove", "api", &two]);
    assert_eq!(who(&edge).await.0, 503);
    let unknown = edge.run("shop", &["upstreams", "add", "web", &two]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("names no upstream `web`"), "{unknown:#?}");
    edge.json("shop", &["upstreams", "add", "api", &one]);
    assert_eq!(who(&edge).await, (200, "one".to_owned()));
}
