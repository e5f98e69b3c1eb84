//! `devanture-edge authority`, as called by an operator.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use devanture_config::local_edge::LocalEdge;
use x509_parser::extensions::GeneralName;

use super::doctor::written;
use crate::support::edge;

fn call(folder: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
    command.args(["authority", "--config", "edge.toml"]).current_dir(folder).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_that_signs_for_the_edge_is_printed() {
    let edge = edge().in_a_process().start().await;
    let folder = edge.data_dir().parent().unwrap().to_owned();
    let output = tokio::task::spawn_blocking(move || call(&folder)).await.unwrap();
    let kept = std::fs::read_to_string(edge.data_dir().join("tls/ca.pem")).unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap().trim()), (Some(0), kept.trim()));
    edge.stop().await;
}

#[test]
fn an_authority_that_is_not_there_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (tls, code, words) in [
        ("mode = \"self-signed\"", 2, "at its first start"),
        ("mode = \"files\"\ncertificate = \"site.pem\"\nkey = \"site.key\"", 1, "there is no local authority"),
    ] {
        written(folder.path(), "127.0.0.1:0", "localhost", &format!("[tls]\n{tls}\n"));
        let output = call(folder.path());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len(), text.contains(words)), (Some(code), 0, true), "{text}");
    }
    assert!(!folder.path().join("data").exists());
}

/// Browsers trust the authority for years, and the key lies in a developer's home folder.
#[test]
fn the_authority_of_dev_is_for_this_machine_alone() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), "127.0.0.1:0", "localhost", "[tls]\nmode = \"self-signed\"\n");
    let tls = folder.path().join("data/tls");
    // Authority of an earlier release, for every name.
    devanture_serve::tls::make_authority(&tls).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
    command.args(["--config", "edge.toml", "local"]).current_dir(folder.path());
    let mut edge = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(edge.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(matches!(serde_json::from_str(&line).unwrap(), LocalEdge::Ready { .. }), "{line}");
    drop(edge.stdin.take());
    edge.wait().unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&std::fs::read(tls.join("ca.pem")).unwrap()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let constraints = certificate.name_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.excluded_subtrees.is_none());
    let permitted = constraints.value.permitted_subtrees.as_ref().unwrap();
    let names: Vec<_> = permitted.iter().filter(|one| matches!(one.base, GeneralName::DNSName(_))).collect();
    assert!(matches!(names.as_slice(), [one] if one.base == GeneralName::DNSName("localhost")), "{permitted:?}");
}
