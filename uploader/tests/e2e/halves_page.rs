//! Runs `docs/halves.md`: each story in a separate project, every line unchanged.

use std::path::Path;
use std::process::Command;

use crate::support::edge::{Edge, Ran, edge};
use crate::support::managed::Project;
use crate::support::page;

fn block(mark: &str) -> String {
    page::block("halves.md", &format!("halves: {mark}"))
}

/// The project of the page, pushed whole twice, so that a rollback is possible.
fn project(edge: &Edge) -> Project {
    let project = Project::new("game", "one", "");
    project.write("devanture.toml", &block("devanture.toml"));
    build(&project, "one");
    project.push(edge);
    build(&project, "two");
    project.push(edge);
    project
}

fn build(project: &Project, name: &str) {
    project.front(name);
    project.backend(name);
    let (built, server) = (project.path().join("out"), project.path().join("server"));
    std::fs::remove_dir_all(&server).ok();
    std::fs::rename(built, server).unwrap();
}

/// Runs the lines of a block, all of which must succeed.
async fn run(edge: &Edge, folder: &Path, mark: &str) {
    let settings = edge.command(folder, "game", &[]);
    let program = settings.get_program().to_str().unwrap().to_owned();
    let script = format!("set -eu -o pipefail\ndevanture() {{ '{program}' \"$@\"; }}\n{}", block(mark));
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(folder);
    let variables = settings.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    // curl needs the name of the certificate.
    bash.envs(variables).env("DEVANTURE_URL", format!("https://localhost:{}", edge.admin().port()));
    let ran = tokio::task::spawn_blocking(move || Ran::of(bash.output().unwrap())).await.unwrap();
    assert_eq!(ran.code, Some(0), "{mark}: {ran:#?}\n{}", edge.log());
}

async fn answers(edge: &Edge) -> (String, String) {
    let get = async |path: &str| {
        let response = edge.client(true).get(edge.url("game.localhost", path)).send().await.unwrap();
        response.text().await.unwrap()
    };
    let page = get("/").await.replace("<title>", "").replace("</title>", "");
    (page, get("/api/who").await.split(' ').next().unwrap().to_owned())
}

fn answered(page: &str, backend: &str) -> (String, String) {
    (page.to_owned(), backend.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_the_front_alone() {
    let edge = edge().with_runner().start();
    let project = project(&edge);
    build(&project, "three");
    std::fs::remove_dir_all(project.path().join("server")).unwrap();
    run(&edge, project.path(), "front").await;
    // The story ends with a rollback.
    assert_eq!(answers(&edge).await, answered("two", "two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_the_backend_alone() {
    let edge = edge().with_runner().start();
    let project = project(&edge);
    build(&project, "three");
    std::fs::remove_dir_all(project.path().join("www")).unwrap();
    run(&edge, project.path(), "backend").await;
    assert_eq!(answers(&edge).await, answered("two", "two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_both_and_that_of_curl() {
    let edge = edge().with_runner().start();
    let project = project(&edge);
    build(&project, "three");
    run(&edge, project.path(), "both").await;
    assert_eq!(answers(&edge).await, answered("three", "three"));
    build(&project, "four");
    run(&edge, project.path(), "curl").await;
    assert_eq!(answers(&edge).await, answered("four", "four"));
}
