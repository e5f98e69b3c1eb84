//! Runs the Django examples of `docs/python.md`: tables by `release`, and the first administrator by `devanture run`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::forms::log_in;
use super::http::Visitor;
use super::python_page::block;
use super::servers::sources;
use crate::support::edge::{Edge, Ran, edge};
use crate::support::inputs;

const PASSWORD: &str = "correct-horse-battery";

/// Makes a project with the admin site, and with the required packages.
fn make(folder: &Path, packages: &Path) {
    let script = "mkdir -p dist/www dist/server/lib\n\
        echo '<title>shop</title>' > dist/www/index.html\n\
        cp -r \"$SITE\"/. dist/server\n\
        for package in django asgiref sqlparse gunicorn; do cp -r \"$PACKAGES/$package\" dist/server/lib; done\n\
        cd dist/server\n\
        find . \\( -name __pycache__ -o -name '*.po' -o -name '*.mo' -o -path '*/static/*' \\) -prune \
            -exec rm -rf {} +\n";
    let mut shell = Command::new("sh");
    shell.args(["-ec", script]).current_dir(folder).env("SITE", sources().join("admin_site")).env("PACKAGES", packages);
    let ran = Ran::of(shell.output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let toml = format!("app = \"shop\"\nwww = \"dist/www\"\n\n{}", block("django", "toml", "[server]"));
    fs::write(folder.join("devanture.toml"), toml).unwrap();
    let settings = folder.join("dist/server/shop/settings.py");
    let whole = fs::read_to_string(&settings).unwrap() + &block("django", "python", "DATABASES");
    fs::write(settings, whole).unwrap();
}

/// Runs the command line with `input`, which must succeed.
#[track_caller]
fn run(edge: &Edge, folder: &Path, arguments: &[&str], input: &str) {
    let ran = Ran::fed(&mut edge.command(folder, "shop", arguments), input);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}\n{}", edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_of_a_site_is_made_by_a_command_and_logs_in() {
    let Some(packages) = inputs::frameworks() else { return };
    let project = tempfile::tempdir().unwrap();
    make(project.path(), &packages);
    let edge = edge().with_runner().start();
    run(&edge, project.path(), &["env", "set", "SECRET_KEY", "--secret"], "a key of this test alone");
    run(&edge, project.path(), &["push"], "");
    for line in block("django", "sh", "createsuperuser").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let input = if words.contains(&"--secret") { PASSWORD } else { "" };
        run(&edge, project.path(), words.strip_prefix(&["devanture"]).unwrap(), input);
    }
    let mut visitor = Visitor::new(&edge, true);
    log_in(&mut visitor, PASSWORD).await;
    let page = visitor.send(visitor.request("GET", "/admin/")).await;
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("keeper"));
}
