//! Runs `docs/images.md`, line by line, with a real podman and a real registry.

use std::process::Command;

use super::images::write_program;
use crate::support::edge::{Edge, edge};
use crate::support::managed::{Project, eventually};
use crate::support::page;
use crate::support::podman::{Engine, is_installed};

/// The shop of the page.
struct Shop {
    engine: Engine,
    edge: Edge,
    project: Project,
}

impl Shop {
    /// Returns a block of the page, by the mark before, with the registry of the test.
    fn block(&self, mark: &str) -> String {
        page::block("images.md", mark).replace("registry.example.org", &self.engine.address.to_string())
    }

    /// Returns the output of a line of the page, with errors.
    fn line(&self, line: &str) -> String {
        let settings = self.edge.command(self.project.path(), "shop", &[]);
        let program = settings.get_program().to_str().unwrap();
        let options = self.engine.options().join(" ");
        let line = line.replace(":8443", &format!(":{}", self.edge.https().port()));
        // The registry of the test has no TLS, and no authority signed the certificate of the edge.
        let script = format!(
            "set -eu\ndevanture() {{ '{program}' \"$@\"; }}\ncurl() {{ command curl -sS --insecure --max-time 30 \"$@\"; }}\n\
             podman() {{ local what=$1; shift; [ $what != push ] || set -- --tls-verify=false \"$@\"; command podman {options} $what \"$@\"; }}\n{line}"
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(self.project.path());
        bash.envs(settings.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
        let output = bash.output().unwrap();
        assert!(output.status.success(), "{line}: {output:#?}\n{}", self.edge.log());
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// Returns the output of the lines of a block.
    fn lines(&self, mark: &str) -> Vec<String> {
        self.block(&format!("images: {mark}")).lines().map(|line| self.line(line)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_page_about_images_does_what_it_says() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let edge = edge().with_runner().with_table(&engine.table("")).start();
    let project = Project { folder: tempfile::tempdir().unwrap(), app: "shop".to_owned() };
    let shop = Shop { engine, edge, project };
    let project = &shop.project;
    project.front("shop");
    for file in ["Containerfile", "devanture.toml"] {
        project.write(file, &shop.block(&format!("file: {file}")));
    }
    write_program(project, "one");
    project.write("orders.csv", "1,apples\n2,pears\n");

    let [_, _, push, answer] = &shop.lines("push")[..] else { panic!("four lines") };
    assert!(push.contains("@sha256:"), "{push}");
    assert_eq!(answer, "one\n");
    write_program(project, "two");
    let [_, _, _, second, _, first] = &shop.lines("again")[..] else { panic!("six lines") };
    assert_eq!((second.as_str(), first.as_str()), ("two\n", "one\n"));
    let [instances, logs, migrated, imported, _] = &shop.lines("look")[..] else { panic!("five lines") };
    assert!(instances.contains("web.1") && logs.contains("listening as one"), "{instances}{logs}");
    assert_eq!(migrated, "migrate of one is done\n");
    assert_eq!(imported, "imported 17 bytes into one\n");
    let digest = shop.block("images: digest");
    eventually("the digest is written", async || shop.line(&digest).contains("digest of one is done").then_some(()))
        .await;
    project.write("devanture.toml", &shop.block("file: devanture.toml of another registry"));
    let [refused, answer] = &shop.lines("refused")[..] else { panic!("two lines") };
    assert!(refused.contains("is in no registry") && refused.contains("exit code"), "{refused}");
    assert_eq!(answer, "one\n");
}
