//! Help, and messages about wrong use.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use crate::cli_support::{Project, STILL_RUNNING, dead_url};

#[test]
fn wrong_use_is_a_failure_like_every_other() {
    let project = Project::new(&[]);
    let ran = project.run(&["push", "--jsn", "--json"]);
    let error = ran.failed("usage", 2);
    assert!(error["message"].as_str().unwrap().contains("--jsn"), "{error}");
    assert_ne!(ran.last_line(), STILL_RUNNING);
    assert_eq!(project.run(&[]).code, Some(2));
    project.run(&["switch", "zzz", "--json"]).failed("usage", 2);
    // Missing arguments follow clap's first line.
    let error = project.run(&["switch", "--json"]).failed("usage", 2);
    assert_eq!(error["message"], "the following required arguments were not provided: <ID>");
    project.run(&["alias", "set", "", "abcdef", "--json"]).failed("usage", 2);
    // A missing app, address or token is reported.
    let ran = project.run(&["status", "--json"]);
    assert!(ran.failed("usage", 2)["hint"].as_str().unwrap().contains("DEVANTURE_URL"));
}

#[test]
fn help_has_examples_and_completions_are_printed() {
    let project = Project::new(&[]);
    let help = project.run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for text in ["Examples:", "devanture rollback", "DEVANTURE_TOKEN", "Exit codes:", "--explain"] {
        assert!(help.stdout.contains(text), "{text}\n{}", help.stdout);
    }
    for command in
        ["init", "check", "push", "switch", "rollback", "promote", "status", "history", "alias", "completions"]
    {
        assert!(help.stdout.contains(command), "{command}");
        assert_eq!(project.run(&[command, "--help"]).code, Some(0), "{command}");
    }
    let bash = project.run(&["completions", "bash"]);
    assert!(bash.stdout.contains("_devanture") && bash.stdout.contains("--no-switch"), "{}", bash.stdout);
    assert!(project.run(&["--version"]).stdout.starts_with("devanture "));
}

#[test]
fn every_command_gets_a_man_page() {
    let project = Project::new(&[("man/keep", "")]);
    assert_eq!(project.run(&["man", "man"]).code, Some(0));
    let page = std::fs::read_to_string(project.path("man/devanture-push.1")).unwrap();
    assert!(page.contains("no\\-switch") && page.contains(".SH NAME"), "{page}");
    assert!(project.path("man/devanture-alias-set.1").exists());
    let ran = project.run(&["man", "absent"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("cannot be written into absent"), "{ran:#?}");
}

#[test]
fn a_command_that_cannot_be_read_says_what_was_meant_and_nothing_of_what_is_live() {
    let project = Project::new(&[("devanture.toml", "app = \"shop\"\nwww = \"dist\"\n")]);
    let ran = project.run(&["push", "--swich", "--json"]);
    let error = ran.failed("usage", 2);
    assert_eq!(error["hint"], "did you mean `--no-switch`?");
    assert!(!ran.stderr.contains("still running"), "{ran:#?}");
    for (arguments, expected) in [(["help", "push"], "--no-switch"), (["help", "rollback"], "--with-settings")] {
        let ran = project.run(&arguments);
        assert!(ran.code == Some(0) && ran.stdout.contains(expected), "{ran:#?}");
    }
}

#[test]
fn deleting_an_app_names_the_flag_that_it_takes() {
    let project = Project::site("https://127.0.0.1:1");
    let error = project.run(&["delete", "app", "--now", "--json"]).failed("usage", 2);
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("pass --yes to mean it") && !hint.contains("--now"), "{hint}");
}

#[test]
fn every_text_agrees_that_a_login_is_the_name_of_an_account() {
    let project = Project::site(&dead_url());
    for arguments in [&["--help"][..], &["login", "--help"]] {
        let help = project.run(arguments).stdout;
        let line = help.lines().find(|line| line.contains("DEVANTURE_LOGIN ") && line.contains("name of an account"));
        assert!(line.is_some() && help.contains("devanture-edge account create"), "{help}");
    }
    let project = Project::new(&[("www/index.html", "hi")]);
    let error = project.variable("DEVANTURE_URL", &dead_url()).run(&["push", "--app", "shop", "--json"]);
    let error = error.failed("unauthenticated", 4);
    assert!(error["hint"].as_str().unwrap().contains("DEVANTURE_LOGIN to the name of an account"), "{error}");
}
