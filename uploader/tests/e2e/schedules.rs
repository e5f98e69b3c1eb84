//! What `docs/schedules.md` shows, as it stands there: a shop with a `Procfile` and a schedule, pushed and run.

use std::path::Path;

use crate::support::edge::{Edge, Ran, edge};
use crate::support::managed::{eventually, healthy};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/schedules.md");
    std::fs::read_to_string(path).unwrap()
}

/// The blocks of the page that a mark stands before, with what it names.
fn blocks(page: &str, mark: &str) -> Vec<(String, String)> {
    let mark = format!("<!-- {mark}");
    let parts = page.split(&mark).skip(1);
    let block = |part: &str| {
        let (name, rest) = part.split_once("-->\n```").unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        (name.trim().to_owned(), rest.split_once("```\n").unwrap().0.to_owned())
    };
    parts.map(block).collect()
}

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
    let page = page();
    for (path, text) in blocks(&page, "file: ") {
        let path = project.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::create_dir(project.path().join("www")).unwrap();
    std::fs::write(project.path().join("www/index.html"), "<title>shop</title>").unwrap();
    let (_, commands) = blocks(&page, "run").remove(0);
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
