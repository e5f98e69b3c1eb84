//! The comment made and changed by the action for GitHub: its step unchanged, against a loopback server that answers as
//! GitHub's GraphQL API.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::recipe_machine::{has_tools, list, read};

/// The commenting token, and its author.
const TOKEN: &str = "token-of-the-workflow";
const OWN: &str = "github-actions[bot]";
/// Comments on a page: GitHub has up to 100.
const PAGE: usize = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment {
    author: &'static str,
    pub(super) body: String,
}

/// The comments of one pull request.
#[derive(Clone)]
pub(super) struct GitHub {
    address: SocketAddr,
    comments: Arc<Mutex<Vec<Comment>>>,
}

impl GitHub {
    pub(super) fn start(comments: Vec<Comment>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let github = Self { address, comments: Arc::new(Mutex::new(comments)) };
        let answering = github.clone();
        std::thread::spawn(move || listener.incoming().for_each(|stream| answering.answer(&stream.unwrap())));
        github
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/graphql", self.address)
    }

    pub(super) fn comments(&self) -> Vec<Comment> {
        self.comments.lock().unwrap().clone()
    }

    fn answer(&self, mut stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let (mut length, mut is_known) = (0, false);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            is_known |= line.trim() == format!("Authorization: Bearer {TOKEN}");
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer = match is_known {
            true => self.decide(&serde_json::from_slice(&body).unwrap()),
            false => json!({ "errors": [{ "message": "Bad credentials" }] }),
        };
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
        stream.write_all((head + &answer).as_bytes()).unwrap();
    }

    fn decide(&self, request: &Value) -> Value {
        let (query, variables) = (request["query"].as_str().unwrap(), &request["variables"]);
        let mut comments = self.comments.lock().unwrap();
        let body = || variables["body"].as_str().unwrap().to_owned();
        if query.contains("updateIssueComment") {
            let number: usize = variables["id"].as_str().unwrap().parse().unwrap();
            if comments[number].author != OWN {
                return json!({ "errors": [{ "message": "it belongs to somebody else" }] });
            }
            comments[number].body = body();
            return json!({ "data": { "updateIssueComment": {} } });
        }
        if query.contains("addComment") {
            assert_eq!(variables["id"], "pull-request-12");
            comments.push(Comment { author: OWN, body: body() });
            return json!({ "data": { "addComment": {} } });
        }
        assert_eq!(
            (&variables["owner"], &variables["name"], &variables["number"]),
            (&json!("acme"), &json!("shop"), &json!(12))
        );
        let from: usize = variables["after"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
        let until = comments.len().min(from + PAGE);
        let node = |number: usize| {
            let Comment { author, body } = &comments[number];
            json!({ "id": number.to_string(), "viewerDidAuthor": *author == OWN, "body": body })
        };
        let nodes: Vec<Value> = (from..until).map(node).collect();
        let page = json!({ "hasNextPage": until < comments.len(), "endCursor": until.to_string() });
        let comments = json!({ "nodes": nodes, "pageInfo": page });
        json!({ "data": { "repository": { "pullRequest": { "id": "pull-request-12", "comments": comments } } } })
    }
}

fn comment(author: &'static str, body: &str) -> Comment {
    Comment { author, body: body.to_owned() }
}

/// Runs the step for an app, whose preview is at `url`.
fn run(github: &GitHub, token: &str, app: &str, url: &str) -> Output {
    let results = tempfile::tempdir().unwrap();
    let push = json!({ "app": app, "urls": { "alias": url, "preview": "https://one.localhost" } });
    std::fs::write(results.path().join("push.json"), push.to_string()).unwrap();
    std::fs::write(results.path().join("diff.txt"), "+ index.html\n").unwrap();
    let action = read("deploy/github-action/action.yml");
    let steps = list(&action["runs"]["steps"]);
    let step = steps.iter().find(|step| step["name"].as_str() == Some("Comment the address")).unwrap();
    // As GitHub runs `shell: bash`.
    let mut command = Command::new("bash");
    command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"].as_str().unwrap()]);
    command.env("GH_TOKEN", token).env("NUMBER", "12").env("GITHUB_REPOSITORY", "acme/shop");
    command.env("GITHUB_GRAPHQL_URL", github.url()).env("RESULTS", results.path());
    let output = command.output().unwrap();
    assert!(!results.path().join("authorization").exists(), "the token stays on the disk");
    output
}

#[test]
fn a_second_run_changes_the_comment_of_the_first_one_and_no_other() {
    if !has_tools() {
        return;
    }
    let others = vec![comment("ada", "Looks good."), comment(OWN, "12 tests passed."), comment("eve", "First!")];
    let github = GitHub::start(others.clone());
    for url in ["https://first.localhost", "https://second.localhost"] {
        let output = run(&github, TOKEN, "shop", url);
        assert!(output.status.success(), "{output:?}");
        let comments = github.comments();
        assert_eq!((&comments[..3], comments.len()), (&others[..], 4), "{comments:?}");
        let body = &comments[3].body;
        assert!(body.starts_with("<!-- devanture: preview of shop -->\n"), "{body}");
        assert!(body.contains(&format!("Preview: {url}, ")) && body.ends_with("```\n+ index.html\n```\n"), "{body}");
    }
    // A second app of the repository has a separate comment.
    assert!(run(&github, TOKEN, "docs", "https://docs.localhost").status.success());
    let comments = github.comments();
    assert_eq!(comments.len(), 5);
    assert!(comments[3].body.contains("https://second.localhost"), "{comments:?}");
}

/// Any user may write the hidden line.
#[test]
fn a_comment_of_another_author_is_not_changed_whatever_it_says() {
    if !has_tools() {
        return;
    }
    let planted = comment("eve", "<!-- devanture: preview of shop -->\nPreview: https://evil.example");
    let github = GitHub::start(vec![planted.clone()]);
    assert!(run(&github, TOKEN, "shop", "https://shop.localhost").status.success());
    let comments = github.comments();
    assert_eq!((&comments[0], comments.len(), comments[1].author), (&planted, 2, OWN));
}

#[test]
fn a_refusal_of_github_fails_the_step_with_what_it_says() {
    if !has_tools() {
        return;
    }
    let github = GitHub::start(Vec::new());
    let output = run(&github, "another-token", "shop", "https://shop.localhost");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("Bad credentials"), "{output:?}");
    assert_eq!(github.comments(), []);
}
