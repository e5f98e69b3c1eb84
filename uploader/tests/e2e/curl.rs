//! The API with curl only: every line of code on the page about the API is run unchanged.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::edge::{Edge, Ran, edge};
use crate::support::leave_out;

const PAGE: &str = include_str!("../../../docs/api.md");
/// Environment of the page's first line: a folder with a site, and a wrapper of curl that records the statuses, and
/// stores values that the page calls by a name.
const PREAMBLE: &str = r#"
set -u
shopt -s expand_aliases
mkdir dist && printf '<h1>Hi</h1>' > dist/index.html
id= refresh= deploy=
curl() {
  local limit=20
  case "$*" in *tail=true*) limit=1 ;; esac
  command curl --max-time "$limit" --write-out '%{stderr}ANSWER %{http_code} %{method} %{url}\n' "$@" \
    > answer 2> told
  cat answer
  { tr -d '\r' < told | grep -E '^ANSWER' || { echo "NOTHING $*"; cat told; }; cat answer; echo; } >> said
  kept() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" answer | head -1; }
  case "$(cat told)" in
    *'ANSWER 201 POST'*/deploys*) deploy=$(kept deploy) ;;
    *'ANSWER 20'?' POST'*/v1/tokens*) id=$(kept id) ;;
    *'ANSWER 200 POST'*/v1/login* | *'ANSWER 200 POST'*/v1/refresh*) refresh=$(kept refresh_token) ;;
  esac
}
"#;
/// Expected error statuses, by the path of the request.
const REFUSALS: [(&str, &str); 2] = [
    // The page shows two ways to finish a push, and the first has finished the push.
    ("404", "/finish"),
    // The page logs in to an account before creating an account, so the test has created the account.
    ("409", "/v1/accounts"),
];

/// Returns the page's code, with invented values replaced by real values.
fn code(versions: &[String; 3], password: &str) -> String {
    let blocks: Vec<&str> = PAGE.split("```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    // The first block sets the address of the edge, replaced by the test's.
    let alias = blocks[0].lines().find(|line| line.starts_with("alias")).unwrap();
    let [old, live, spare] = versions;
    let page = [&[alias][..], &blocks[1..]].concat().join("\n");
    page.replace("versions/4f2a91", &format!("versions/{}", &spare[..12]))
        .replace(
            "undelete\" --data '{\"version\": \"4f2a91\"}",
            &format!("undelete\" --data '{{\"version\": \"{}\"}}", &spare[..12]),
        )
        .replace("4f2a91", &old[..12])
        .replace("91c2aa", &live[..12])
        .replace("\"watch_s\": 60", "\"watch_s\": 1")
        .replace("If-Match: \"3\"", "If-Match: \"0\"")
        .replace("\"password\": \"…\"", &format!("\"password\": \"{password}\""))
}

/// Pushes three versions: an earlier live version, the live version, and an unreferenced version.
fn pushed(edge: &Edge) -> [String; 3] {
    let push = |text: &str, arguments: &[&str]| {
        let site = tempfile::tempdir().unwrap();
        std::fs::write(site.path().join("index.html"), text).unwrap();
        let folder = site.path().to_str().unwrap();
        let report = edge.json("shop", &[&["push", folder], arguments].concat());
        report["version"].as_str().unwrap().to_owned()
    };
    push("staged", &["--env", "staging"]);
    [push("old", &[]), push("live", &[]), push("spare", &["--no-switch"])]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_page_about_the_api_does_what_it_says() {
    for program in ["bash", "b3sum", "curl", "zip"] {
        if Command::new(program).arg("--version").output().is_err() {
            return leave_out(&format!("{program} is not installed"));
        }
    }
    let edge = edge().start();
    let versions = pushed(&edge);
    let password = edge.token.chars().rev().take(24).collect::<String>();
    let account = json!({"name": "ada", "app": "shop", "scope": "push", "password": password});
    assert!((200..300).contains(&edge.api("POST", "/v1/accounts", Some(account)).await.0));
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(edge.ca(), folder.path().join("ca.pem")).unwrap();
    let script = format!("{PREAMBLE}{}\n", code(&versions, &password));
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(folder.path()).env("DEVANTURE_TOKEN", &edge.token);
    bash.env("DEVANTURE_URL", format!("https://localhost:{}", edge.admin().port()));
    let ran = tokio::task::spawn_blocking(move || Ran::of(bash.output().unwrap())).await.unwrap();
    let printed = std::fs::read_to_string(folder.path().join("said")).unwrap();
    let answers: Vec<&str> =
        printed.lines().filter(|line| line.starts_with("ANSWER ") || line.starts_with("NOTHING")).collect();
    let calls = script
        .lines()
        .filter(|line| {
            line.starts_with("api ")
                || line.starts_with("  api ")
                || line.starts_with("curl ")
                || line.starts_with("tag=")
        })
        .count();
    assert_eq!(answers.len(), calls, "{printed}\n{ran:#?}");
    for answer in answers {
        let [_, status, _, url] = answer.split(' ').collect::<Vec<_>>()[..] else { panic!("{answer}\n{printed}") };
        let is_expected =
            status.starts_with('2') || REFUSALS.iter().any(|(code, part)| *code == status && url.ends_with(part));
        assert!(is_expected, "{answer}\n{printed}");
    }
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    // After the last step, the app exists again, and serves.
    let (status, live): (u16, Value) = edge.api("GET", "/v1/apps/shop/environments/prod", None).await;
    assert_eq!((status, live["version"].is_string()), (200, true), "{live}");
}
