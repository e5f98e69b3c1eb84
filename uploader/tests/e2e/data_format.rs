//! The data folder of the previous release: opened, served, and pushed to. `UPDATE_FIXTURES=1` makes the folder of this
//! release, after a change of the format.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::edge::{Edge, edge, program};

/// Packed data folders, by the number of their format: `format`, the catalog, blobs and manifests, without credentials.
fn folders() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data-folders")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An edge without a token: the owner of the data folder needs none.
struct Owner {
    process: Child,
    folder: tempfile::TempDir,
}

impl Owner {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = "data_dir = \"data\"\ndomain = \"localhost\"\npreview_domain = \"localhost\"\n\
                      [listen]\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
                      [tls]\nmode = \"self-signed\"\n[compress]\nbackground = false\n";
        std::fs::write(folder.path().join("edge.toml"), config).unwrap();
        let mut edge = Command::new(program("devanture-edge"));
        edge.args(["--config", "edge.toml"]).current_dir(folder.path()).stdout(Stdio::piped());
        let mut process = edge.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("\"ready\":true"), "{line}");
        Self { process, folder }
    }

    fn call(&self, path: &str, arguments: &[&str]) -> Value {
        let socket = self.folder.path().join("data/control.sock");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--unix-socket"]).arg(socket);
        let text = run(curl.arg(format!("http://edge/v1/apps/shop{path}")).args(arguments));
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Pushes a page with `text`. Returns the version.
    fn push(&self, environment: &str, text: &str) -> String {
        let (site, archive) = (tempfile::tempdir().unwrap(), self.folder.path().join("site.tar"));
        std::fs::write(site.path().join("index.html"), format!("page {text}")).unwrap();
        std::fs::write(site.path().join("app.css"), "body { color: teal }\n".repeat(40)).unwrap();
        run(Command::new("tar").arg("-C").arg(site.path()).arg("-cf").arg(&archive).arg("."));
        let bundle = format!("bundle=@{}", archive.display());
        let report = self.call(&format!("/environments/{environment}/deploys"), &["--form", &bundle]);
        report["version"].as_str().unwrap().to_owned()
    }

    fn end(mut self) -> tempfile::TempDir {
        run(Command::new("kill").arg(self.process.id().to_string()));
        assert!(self.process.wait().unwrap().success());
        self.folder
    }
}

fn pack() {
    let owner = Owner::start();
    let first = owner.push("prod", "one");
    owner.push("prod", "two");
    owner.push("staging", "staged");
    let json = "content-type: application/json";
    let put = |path: &str, method: &str, body: Value| {
        owner.call(path, &["--request", method, "--header", json, "--data", &body.to_string()])
    };
    put("/aliases/first", "PUT", json!({ "version": first }));
    put("/environments/staging/lock", "PUT", json!({ "reason": "a fixture" }));
    let folder = owner.end();
    let data = folder.path().join("data");
    let format = std::fs::read_to_string(data.join("format")).unwrap();
    let number: String = format.chars().filter(char::is_ascii_digit).collect();
    std::fs::create_dir_all(folders()).unwrap();
    let packed = folders().join(format!("format-{number}.tar.gz"));
    let parts = ["format", "catalog.redb", "blobs", "manifests"];
    let owned = ["--owner=0", "--group=0", "--numeric-owner", "--sort=name"];
    run(Command::new("tar").args(owned).arg("-C").arg(&data).arg("-czf").arg(&packed).args(parts));
}

async fn page(edge: &Edge, host: &str) -> String {
    edge.client(true).get(edge.url(host, "/")).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_of_an_earlier_release_is_opened_served_from_and_pushed_to() {
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        pack();
    }
    let packed: Vec<_> = std::fs::read_dir(folders()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!packed.is_empty());
    for packed in packed {
        let data = tempfile::tempdir().unwrap();
        run(Command::new("tar").arg("-C").arg(data.path()).arg("-xzf").arg(&packed));
        let mut edge = edge().with_data_in(data.path()).start();
        assert_eq!(page(&edge, "shop.localhost").await, "page two", "{packed:?}");
        assert_eq!(page(&edge, "staging--shop.localhost").await, "page staged");
        assert_eq!(page(&edge, "first--shop.localhost").await, "page one");
        let history = edge.json("shop", &["history"]);
        assert_eq!(history["deploys"].as_array().unwrap().len(), 2);
        let site = tempfile::tempdir().unwrap();
        std::fs::write(site.path().join("index.html"), "page three").unwrap();
        edge.push("shop", site.path());
        assert_eq!(page(&edge, "shop.localhost").await, "page three");
        edge.json("shop", &["rollback"]);
        assert_eq!(page(&edge, "shop.localhost").await, "page two");
        let locked = edge.json("shop", &["push", site.path().to_str().unwrap(), "--env", "staging"]);
        assert_eq!((&locked["switched"], &locked["locked"]["reason"]), (&json!(false), &json!("a fixture")));
        // This release reads its own data.
        edge.restart();
        assert_eq!(page(&edge, "shop.localhost").await, "page two");
    }
}
