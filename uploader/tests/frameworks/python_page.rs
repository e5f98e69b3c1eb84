//! Runs the examples of `docs/python.md`: a WSGI and an ASGI app with bundled packages, and a virtual environment.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::edge::{Edge, EdgeBuilder, Ran, edge};
use crate::support::inputs;
use crate::support::page;

/// The interpreter of the system, executable by every user.
const PYTHON: &str = "/usr/bin/python3";

/// Returns the blocks of the page behind `<!-- mark -->`, of one language.
pub(super) fn block(mark: &str, language: &str, starts: &str) -> String {
    let page = page::page("python.md");
    let begin = format!("<!-- {mark} -->\n```{language}\n");
    let blocks = page.split(&begin).skip(1).map(|rest| rest.split_once("```\n").unwrap().0);
    let found = blocks.into_iter().find(|block| block.contains(starts));
    found.unwrap_or_else(|| panic!("{mark} has no {language} with {starts}")).to_owned()
}

/// Returns the interpreter of the system with its version, such as `python3.11`, if able to make virtual environments.
fn python() -> (PathBuf, String) {
    let program = std::fs::canonicalize(PYTHON).unwrap();
    let name = program.file_name().unwrap().to_str().unwrap().to_owned();
    (program, name)
}

/// A project of the page: its files, and its commands except pip, which needs the network; packages come from this
/// machine.
struct Project(TempDir);

impl Project {
    fn new(mark: &str, packages: &[&str]) -> Option<Self> {
        let known = inputs::frameworks()?;
        let project = Self(tempfile::tempdir().unwrap());
        let write = |name: &str, text: &str| std::fs::write(project.0.path().join(name), text).unwrap();
        write("app.py", &block(mark, "python", "def app"));
        write("devanture.toml", &block(mark, "toml", "[server]"));
        std::fs::create_dir_all(project.0.path().join("dist/www")).unwrap();
        write("dist/www/index.html", "<title>shop</title>");
        let (program, name) = python();
        let mut folder = None;
        for line in block(mark, "sh", "mkdir").lines() {
            if line.contains("pip install") {
                let of_environment = format!("dist/server/.venv/lib/{name}/site-packages");
                let into = if line.contains("--target") { "dist/server/lib" } else { of_environment.as_str() };
                folder = Some(project.0.path().join(into));
                continue;
            }
            // pip is not needed for copied packages.
            let line = line.replace("python3.11 -m venv", &format!("{} -m venv --without-pip", program.display()));
            project.shell(&line);
        }
        let folder = folder.unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        for package in packages {
            project.shell(&format!("cp -r {}/{package} {}", known.display(), folder.display()));
        }
        Some(project)
    }

    fn shell(&self, line: &str) {
        let ran = Command::new("sh").args(["-ec", line]).current_dir(self.0.path()).output().unwrap();
        assert!(ran.status.success(), "{line}: {ran:?}");
    }

    fn push(&self, edge: &Edge) -> Ran {
        Ran::of(edge.command(self.0.path(), "shop", &["push", "--json"]).output().unwrap())
    }
}

/// An edge with the given table of interpreters.
fn with_interpreters(table: &str) -> EdgeBuilder {
    edge().with_table("[runner]\nenabled = true\n").with_table(table)
}

async fn answer(edge: &Edge) -> String {
    let answer = edge.client(true).get(edge.url("shop.localhost", "/api/plants")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", edge.log());
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wsgi_app_runs_with_the_packages_that_go_along() {
    let Some(project) = Project::new("wsgi", &["gunicorn"]) else { return };
    let edge = edge().with_runner().start();
    let ran = project.push(&edge);
    assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
    assert_eq!(answer(&edge).await, "https /api/plants\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asgi_app_runs_in_its_virtual_environment_with_the_edges_interpreter() {
    let Some(project) = Project::new("asgi", &["uvicorn", "h11", "click", "typing_extensions.py"]) else { return };
    let (program, name) = python();
    let table = block("asgi", "toml", "[runner.interpreters]");
    let table = table.replace("/usr/bin/python3.11", program.to_str().unwrap()).replace("python3.11", &name);
    // The interpreter of the build machine does not matter.
    let config = project.0.path().join("dist/server/.venv/pyvenv.cfg");
    let text = std::fs::read_to_string(&config).unwrap().replace("home = /usr/bin", "home = /opt/python/bin");
    std::fs::write(&config, text).unwrap();
    let without = with_interpreters("[runner.interpreters]\n\"python2.7\" = \"/usr/bin/env\"\n").start();
    let refused = project.push(&without);
    assert_eq!(refused.problem(), "bad_bundle", "{refused:#?}");
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    let expected = format!("is a link to {name}, and this edge has python2.7");
    assert!(message.contains(&expected), "{message}");
    drop(without);
    let edge = with_interpreters(&table).start();
    let ran = project.push(&edge);
    assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
    assert_eq!(answer(&edge).await, "https /api/plants\n");
}

/// A server that copies a file of the bundle to the persistent folder, with its mode, and writes to the copy.
const COPIES: &str = r#"
import http.server, os, shutil
at = os.environ["DEVANTURE_DATA"] + "/seed.txt"
shutil.copy("seed.txt", at)
open(at, "a").write(" and more")
try:
    open("seed.txt", "a").write("!")
    own = "changed"
except OSError:
    own = "kept"
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (open(at).read() + ", " + own).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_bundle_that_is_copied_to_the_data_can_be_written_and_itself_cannot() {
    let project = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = project.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("www/index.html", "<title>shop</title>");
    write("server/app.py", COPIES);
    write("server/seed.txt", "first rows");
    write(
        "devanture.toml",
        "app = \"shop\"\nwww = \"www\"\n[server]\ndir = \"server\"\ncommand = [\"python3\", \"app.py\"]\n\
         persist = \"data\"\nroutes = [\"/api/*\"]\n",
    );
    let edge = edge().with_runner().start();
    let ran = Ran::of(edge.command(project.path(), "shop", &["push", "--json"]).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
    let answer = answer(&edge).await;
    // Only a separate user is kept from the edge's files.
    let is_root = rustix::process::geteuid().is_root();
    assert!(answer.starts_with("first rows and more, ") && (!is_root || answer.ends_with("kept")), "{answer}");
}
