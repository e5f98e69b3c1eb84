//! Runs `docs/php.md`: writes its files, and runs its commands, with a real PHP-FPM.

use std::process::Command;

use devanture_config::site_toml::SiteFile;

use crate::support::edge::{Edge, edge};
use crate::support::managed::Project;
use crate::support::page;

fn block(mark: &str) -> String {
    page::block("php.md", mark)
}

/// The project of the page.
fn project() -> Project {
    let project = Project { folder: tempfile::tempdir().unwrap(), app: "shop".to_owned() };
    for file in ["devanture.toml", "app/public/index.php", "app/src/shop.php", "app/public/style.css"] {
        project.write(file, &block(&format!("file: {file}")));
    }
    project
}

/// Returns the output of a command of the page.
fn printed(edge: &Edge, project: &Project, line: &str) -> String {
    let line = line.replace("curl ", "curl -sS --max-time 30 ").replace(":8443", &format!(":{}", edge.https().port()));
    let output = Command::new("sh").args(["-c", &line]).current_dir(project.path()).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}\n{}", edge.log());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_page_about_php_does_what_it_says() {
    let edge = edge().with_runner().start();
    let project = project();
    let photo = vec![b'p'; 5_000_000];
    std::fs::write(project.path().join("photo.jpg"), &photo).unwrap();
    let commands = block("commands");
    let mut lines = commands.lines();
    assert_eq!(lines.next(), Some("devanture push"));
    project.push(&edge);
    let printed: Vec<String> = lines.map(|line| printed(&edge, &project, line)).collect();
    let css = block("file: app/public/style.css");
    let expected =
        ["hello stranger", "hello Ann", "hello Ann", "11 12 13 14 15 16 17 18 19 20", "photo.jpg 5000000", &css];
    assert_eq!(printed, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_of_the_version_before_still_answers_and_no_source_is_ever_shown() {
    let edge = edge().with_runner().start();
    let project = project();
    project.write("app/public/assets/app-3fa9c1d2.css", "old");
    project.write("app/public/config.phtml", "<?php $password = 'secret';");
    project.push(&edge);
    let client = edge.client(true);
    let get =
        async |path: &str| client.get(edge.url("shop.localhost", path)).send().await.unwrap().text().await.unwrap();
    assert_eq!(get("/assets/app-3fa9c1d2.css").await, "old");
    std::fs::remove_file(project.path().join("app/public/assets/app-3fa9c1d2.css")).unwrap();
    project.write("app/public/assets/app-77d0aa91.css", "new");
    project.push(&edge);
    assert_eq!(
        (get("/assets/app-3fa9c1d2.css").await, get("/assets/app-77d0aa91.css").await),
        ("old".into(), "new".into())
    );
    assert_eq!(get("/assets/none.css").await, "hello stranger", "what no file has is the front controller's");
    for path in ["/index.php", "/config.phtml", "/src/shop.php", "/../src/shop.php", "/devanture.toml"] {
        let text = get(path).await;
        assert!(!text.contains("<?php") && !text.contains("secret"), "{path}: {text}");
    }
}

#[test]
fn the_configuration_for_a_php_fpm_of_ones_own_is_one_that_is_taken() {
    let file = SiteFile::parse("devanture.toml", &block("file: devanture.toml of your own"));
    let base = file.unwrap_or_else(|mistakes| panic!("{mistakes}")).base;
    assert!(base.routes.unwrap()[0].files_first);
    assert_eq!(base.upstreams.unwrap()["php"].pool().scripts().unwrap().root, "/srv/blog/public");
}
