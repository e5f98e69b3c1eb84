//! Runs `docs/schedules.md` unchanged: a shop with a `Procfile` and a schedule, pushed and run.

use std::path::Path;

use crate::support::edge::{Edge, Ran, edge};
use crate::support::managed::{eventually, healthy};
use crate::support::page::block;

/// The files of the page.
const FILES: [&str; 5] = ["Procfile", "devanture.toml", "server/server.js", "server/worker.js", "server/digest.js"];

#[track_caller]
fn run(edge: &Edge, folder: &Path, line: &str) -> Ran {
    let line = line.split('#').next().unwrap().trim();
    let arguments: Vec<&str> = line.strip_prefix("devanture ").unwrap().split(' ').collect();
    let ran = Ran::of(edge.command(folder, "shop", &arguments).output().unwrap());
    assert_eq!(ran.code, Some(0), "{line}: {ran:#?}\n{}", edge.log());
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_with_a_procfile_and_a_schedule_is_pushed_and_its_digest_runs() {
    let (edge, project) = (edge().with_runner().start(), tempfile::tempdir().unwrap());
    for file in FILES {
        let path = project.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, block("schedules.md", &format!("file: {file}"))).unwrap();
    }
    std::fs::create_dir(project.path().join("www")).unwrap();
    std::fs::write(project.path().join("www/index.html"), "<title>shop</title>").unwrap();
    let commands = block("schedules.md", "run");
    let lines: Vec<&str> = commands.lines().collect();
    let [push, schedules, now, logs] = lines[..] else { panic!("{commands}") };
    run(&edge, project.path(), push);
    // The server and the worker.
    healthy(&edge, "shop", 2).await;
    let listed = run(&edge, project.path(), schedules);
    assert!(listed.stdout.contains("digest  0 8 * * * Europe/Paris  next "), "{listed:#?}");
    let dry = run(&edge, project.path(), &format!("{} --dry-run", now.split('#').next().unwrap().trim()));
    assert!(format!("{}{}", dry.stdout, dry.stderr).contains("node digest.js"), "{dry:#?}");
    run(&edge, project.path(), now);
    eventually("the digest ends", async || {
        let list = edge.json("shop", &["schedules"]);
        let last = &list["schedules"][0]["last"];
        (last["outcome"] == "succeeded" && last["exit_code"] == 0).then_some(())
    })
    .await;
    let logged = run(&edge, project.path(), logs);
    assert_eq!(logged.stdout.matches("the digest was sent").count(), 1, "{logged:#?}");
    assert!(run(&edge, project.path(), schedules).stdout.contains("last succeeded"));
}
