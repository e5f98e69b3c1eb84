//! `devanture run`: a one-off command in the folder of the live version, from the view of a terminal or a pipe.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::termios::tcsetwinsize;

use crate::support::edge::{Edge, EdgeBuilder, Ran, edge};
use crate::support::managed::{Project, eventually, healthy, instances, is_alive};
use crate::support::terminal::{size, terminal};

/// The exit code for a command not run to its end.
const NOT_RUN: Option<i32> = Some(125);

fn started(builder: EdgeBuilder, lines: &str) -> (Edge, Project) {
    let edge = builder.with_runner().start();
    let project = Project::new("game", "one", lines);
    project.push(&edge);
    (edge, project)
}

/// `devanture run` with a command for the shell.
fn sh(project: &Project, edge: &Edge, script: &str) -> Ran {
    project.run(edge, &["run", "--", "sh", "-c", script])
}

pub(super) fn spawn(project: &Project, edge: &Edge, arguments: &[&str]) -> Child {
    let mut command = edge.command(project.path(), "game", arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads the first line of a command byte by byte, so that the rest stays unread.
pub(super) fn first_line(from: &mut impl std::io::Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while from.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim().to_owned()
}

async fn gone(pid: u64) {
    eventually("the end of the command", async || (!is_alive(pid)).then_some(())).await;
}

pub(super) fn signal(name: &str, child: &Child) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

async fn audit(edge: &Edge) -> Vec<(String, String)> {
    let (_, log) = edge.api("GET", "/v1/audit?app=game", None).await;
    let text = |entry: &serde_json::Value, name: &str| entry[name].as_str().unwrap().to_owned();
    log["entries"].as_array().unwrap().iter().map(|entry| (text(entry, "action"), text(entry, "what"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_in_the_live_version_with_the_settings_of_its_environment() {
    let (edge, project) = started(edge(), "persist = \"data\"");
    assert_eq!(project.run(&edge, &["env", "set", "COLOUR=blue"]).code, Some(0));
    let ran = sh(&project, &edge, "cat name.txt; echo; echo $COLOUR $DEVANTURE_APP $DEVANTURE_ENVIRONMENT \"[$PORT]\"");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "one\nblue game prod []\n"), "{ran:#?}");
    let ran = sh(&project, &edge, "echo out; echo err >&2; exit 3");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(3), "out\n", "err\n"));
    assert_eq!(sh(&project, &edge, "kill -9 $$").code, Some(137));
    let missing = project.run(&edge, &["run", "--", "no-such-program"]);
    assert_eq!(missing.code, Some(127), "{missing:#?}");
    assert!(missing.stderr.contains("`no-such-program`"), "{missing:#?}");
    assert_eq!(project.run(&edge, &["run", "--", "./name.txt"]).code, Some(126));
    // Persistent files are visible to the instances, and the user is neither root nor the edge's.
    assert_eq!(sh(&project, &edge, "echo kept > data/kept && touch $TMPDIR/x").code, Some(0));
    assert_eq!(sh(&project, &edge, "cat data/kept").stdout, "kept\n");
    if rustix::process::geteuid().is_root() {
        assert_ne!(sh(&project, &edge, "id -u").stdout.trim(), "0");
    }
    let ran = project.run(&edge, &["run", "--json", "--", "sh", "-c", "echo out; exit 4"]);
    assert_eq!((ran.code, ran.stderr.as_str(), ran.json()["exit"]["code"].as_i64()), (Some(4), "out\n", Some(4)));
    let ran = project.run(&edge, &["run", "--node", "node-1", "--", "sh", "-c", "exit 5"]);
    assert_eq!(ran.code, Some(5), "its own name: {ran:#?}");
    let ran = project.run(&edge, &["run", "--node", "node-2", "--json", "--", "true"]);
    assert_eq!((ran.code, ran.problem().as_str()), (NOT_RUN, "not_found"), "{ran:#?}");
    let ran = project.run(&edge, &["run", "--dry-run", "--json", "--", "rm", "-rf", "data"]);
    assert_eq!((ran.code, ran.json()["dry_run"].as_bool()), (Some(0), Some(true)), "{ran:#?}");
    assert_eq!(sh(&project, &edge, "cat data/kept").stdout, "kept\n");

    let log = audit(&edge).await;
    let of = |action: &str| -> Vec<&str> {
        log.iter().filter(|(found, _)| found == action).map(|(_, what)| what.as_str()).collect()
    };
    assert!(
        of("run").iter().all(|what| ["sh with 2 arguments", "no-such-program", "./name.txt"].contains(what)),
        "{log:?}"
    );
    assert!(of("run_ended").iter().any(|what| what.starts_with("sh with 2 arguments: code 3, after ")), "{log:?}");
    assert_eq!(of("run").len(), of("run_ended").len());
    let (_, history) = edge.api("GET", "/v1/apps/game/environments/prod/history", None).await;
    let commands = history["deploys"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "run");
    let commands: Vec<&str> = commands.filter_map(|entry| entry["source"]["message"].as_str()).collect();
    assert_eq!(commands, of("run_ended"), "the last one first in both");

    // In an environment without a live version, and in an environment without a backend.
    let none = project.run(&edge, &["run", "--json", "--env", "staging", "--", "true"]);
    assert_eq!((none.code, none.problem().as_str()), (NOT_RUN, "nothing_live"));
    assert!(none.stdout.contains("names an environment with a live version: prod"), "{none:#?}");
    let plain = tempfile::tempdir().unwrap();
    std::fs::write(plain.path().join("index.html"), "hi").unwrap();
    edge.push("plain", plain.path());
    let none = edge.run("plain", &["run", "--json", "--", "true"]);
    assert_eq!((none.code, none.problem().as_str()), (NOT_RUN, "nothing_live"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_go_in_and_come_out_and_nobody_holds_what_is_not_read() {
    let (edge, project) = started(edge(), "");
    let sent: Vec<u8> = (0..10_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut child = spawn(&project, &edge, &["run", "--", "cat"]);
    let (mut input, copy) = (child.stdin.take().unwrap(), sent.clone());
    let writer = thread::spawn(move || input.write_all(&copy).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stdout == sent, "{}", output.stdout.len());

    // Endless output without a reader, and input never read.
    let before = edge.resident_bytes();
    let mut child = spawn(&project, &edge, &["run", "--", "sh", "-c", "echo $$; exec cat /dev/zero"]);
    let pid: u64 = first_line(child.stdout.as_mut().unwrap()).parse().unwrap();
    let mut deaf = spawn(&project, &edge, &["run", "--", "sh", "-c", "echo $$; exec sleep 1000"]);
    let deaf_pid: u64 = first_line(deaf.stdout.as_mut().unwrap()).parse().unwrap();
    let mut input = deaf.stdin.take().unwrap();
    let writer = thread::spawn(move || while input.write_all(&[0; 65_536]).is_ok() {});
    // A signal overtakes unread input.
    signal("-INT", &deaf);
    assert_eq!(deaf.wait().unwrap().code(), Some(130));
    writer.join().unwrap();
    gone(deaf_pid).await;
    assert!(is_alive(pid) && edge.resident_bytes() < before + 32_000_000);
    child.kill().unwrap();
    child.wait().unwrap();
    gone(pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_with_its_client_whatever_it_does() {
    let (edge, project) = started(edge().with_limit("run_stop_ms", 300), "");
    for script in [
        // The command ignores terminating signals, …
        "trap '' TERM HUP INT; echo $$; while :; do sleep 1; done",
        // … leaves a process behind in a separate session, …
        "setsid sh -c 'echo $$; exec sleep 1000' & wait",
    ] {
        let mut child = spawn(&project, &edge, &["run", "--", "sh", "-c", script]);
        let pid: u64 = first_line(child.stdout.as_mut().unwrap()).parse().unwrap();
        assert!(is_alive(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        gone(pid).await;
    }
    // … or ends before the process left behind.
    let ran = sh(&project, &edge, "setsid sleep 1000 > /dev/null 2>&1 & echo $!");
    assert_eq!(ran.code, Some(0));
    gone(ran.stdout.trim().parse().unwrap()).await;
    // Revoking a token ends the token's commands.
    let token = edge.new_token(&["--name", "one", "--app", "game", "--scope", "run"]);
    let mut command = edge.command(project.path(), "game", &["run", "--json", "--", "sleep", "1000"]);
    let child = command.env("DEVANTURE_TOKEN", &token).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("a command", async || audit(&edge).await.iter().filter(|(what, _)| what == "run").nth(3).map(drop))
        .await;
    let (_, list) = edge.api("GET", "/v1/tokens?app=game", None).await;
    let id = list["tokens"].as_array().unwrap().iter().find(|one| one["name"] == "one").unwrap()["id"].clone();
    edge.api("DELETE", &format!("/v1/tokens/{}", id.as_str().unwrap()), None).await;
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.problem().as_str()), (NOT_RUN, "run_ended"), "{ran:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_leaves_a_command_its_last_words_and_the_second_ctrl_c_ends_the_client() {
    let (edge, project) = started(edge(), "");
    // The shell ends by the signal, while its child still works.
    let script = "(trap 'sleep 0.2; echo rest >&2; exit' INT HUP TERM; echo ready >&2; while :; do sleep 0.05; done) \
        | sleep 1000";
    for (name, code) in [("-INT", 130), ("-HUP", 129), ("-TERM", 143)] {
        let mut child = spawn(&project, &edge, &["run", "--", "sh", "-c", script]);
        let mut errors = child.stderr.take().unwrap();
        assert_eq!(first_line(&mut errors), "ready");
        signal(name, &child);
        let mut rest = String::new();
        errors.read_to_string(&mut rest).unwrap();
        // Shells may name the signal first.
        let last_words = rest.lines().last();
        assert_eq!((child.wait().unwrap().code(), last_words), (Some(code), Some("rest")), "{name}: {rest}");
    }
    let deaf = "trap 'echo heard' INT; echo ready; while :; do sleep 0.05; done";
    let mut child = spawn(&project, &edge, &["run", "--", "sh", "-c", deaf]);
    let mut output = child.stdout.take().unwrap();
    for line in ["ready", "heard"] {
        assert_eq!(first_line(&mut output), line);
        signal("-INT", &child);
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_bounded_in_time_and_number_and_by_scope() {
    let limits = edge().with_limit("runs_max", 2).with_limit("run_stop_ms", 200).with_limit("run_ms_max", 60_000);
    let (edge, project) = started(limits, "");
    let late = project.run(&edge, &["run", "--json", "--timeout", "1s", "--", "sleep", "1000"]);
    assert_eq!((late.code, late.problem().as_str()), (NOT_RUN, "run_ended"), "{late:#?}");
    let mut child = spawn(&project, &edge, &["run", "--", "sh", "-c", "echo; exec sleep 1000"]);
    first_line(child.stdout.as_mut().unwrap());
    let second = project.run(&edge, &["run", "--json", "--", "true"]);
    assert_eq!((second.code, second.problem().as_str()), (NOT_RUN, "busy"), "{second:#?}");
    signal("-TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(sh(&project, &edge, "true").code, Some(0));
    for (scope, more, code) in [
        ("read", &["--app", "game"][..], "forbidden"),
        ("admin", &["--app", "game", "--env", "staging"], "forbidden"),
        ("promote", &["--app", "game"], "forbidden"),
        ("run", &["--app", "other"], "not_found"),
    ] {
        let token = edge.new_token(&[&["--name", "one", "--scope", scope], more].concat());
        let mut command = edge.command(project.path(), "game", &["run", "--json", "--", "true"]);
        let ran = Ran::of(command.env("DEVANTURE_TOKEN", token).output().unwrap());
        assert_eq!((ran.code, ran.problem().as_str()), (NOT_RUN, code), "{scope} {more:?}: {ran:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_ends_or_is_replaced_says_so_to_the_client() {
    let (mut edge, project) = started(edge().with_table("[drain]\nruns_ms = 500\n").with_limit("run_stop_ms", 200), "");
    let child = spawn(&project, &edge, &["run", "--json", "--", "sh", "-c", "echo >&2; exec sleep 1000"]);
    let (mut child, mut seen) = (child, [0]);
    child.stderr.as_mut().unwrap().read_exact(&mut seen).unwrap();
    edge.take_over();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.problem().as_str()), (NOT_RUN, "run_ended"), "{ran:#?}\n{}", edge.log());
    // A command that ends in time is not disturbed, and the next edge runs commands too.
    assert_eq!(sh(&project, &edge, "exit 7").code, Some(7));
    let mut child = spawn(&project, &edge, &["run", "--json", "--", "sh", "-c", "echo >&2; sleep 0.2; exit 6"]);
    child.stderr.as_mut().unwrap().read_exact(&mut seen).unwrap();
    edge.terminate();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(6), "{ran:#?}\n{}", edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_removes_what_an_environment_keeps_too_much_of_and_does_not_add_to_it() {
    let limits = edge().with_limit("persist_bytes_max", 1 << 20).with_limit("persist_files_max", 64);
    let (edge, project) = started(limits.with_limit("run_stop_ms", 300), "persist = \"data\"");
    assert_eq!(project.run(&edge, &["data", "snapshot", "mine"]).code, Some(0));
    for (next, fills, empties) in [
        ("two", "for name in a b c; do head -c 500000 /dev/zero > data/$name; done", "rm data/a data/b data/c"),
        ("three", "for number in $(seq 100); do : > data/file-$number; done", "rm data/file-*"),
    ] {
        let filled = sh(&project, &edge, &format!("{fills}; exec sleep 1000"));
        assert_eq!(filled.code, NOT_RUN, "{filled:#?}");
        assert!(filled.stderr.contains("persist_bytes_max"), "{filled:#?}");
        let state = async || instances(&edge, "game", "prod").await[0]["state"].clone();
        eventually("the instance has ended", async || (state().await == "waiting").then_some(())).await;
        project.backend(next);
        project.fails(&edge, "persist_full");
        // The command begins, with the reason for the watch.
        let listed = sh(&project, &edge, "ls data | wc -l");
        assert_eq!(listed.code, Some(0), "{listed:#?}");
        assert_ne!(listed.stdout.trim(), "0");
        assert!(listed.stderr.starts_with("note: ") && listed.stderr.contains("prod of game keeps"), "{listed:#?}");
        let mut seat = Seat::new(&project, &edge, &["run", "--", "true"]);
        assert!(seat.read_until("\r\n").contains("prod of game keeps"));
        assert!(seat.child.wait().unwrap().success());
        // Additions of any kind are bounded.
        for adds in ["head -c 900000 /dev/zero > data/more", "for number in $(seq 50); do : > data/more-$number; done"]
        {
            let ran = project.run(&edge, &["run", "--json", "--", "sh", "-c", &format!("{adds}; exec sleep 1000")]);
            assert_eq!((ran.code, ran.problem().as_str()), (NOT_RUN, "persist_full"), "{adds}: {ran:#?}");
        }
        // The data is listed up to the counting limit, and a snapshot can be deleted.
        assert_eq!(project.run(&edge, &["data", "list"]).code, Some(0));
        let deleted = project.run(&edge, &["data", "delete", "mine", "--dry-run"]);
        assert_eq!(deleted.code, Some(0), "{deleted:#?}");
        assert_eq!(sh(&project, &edge, &format!("{empties}; rm -f data/more*")).code, Some(0));
        healthy(&edge, "game", 1).await;
        project.push(&edge);
    }
    assert_eq!(project.run(&edge, &["data", "delete", "mine", "--yes"]).code, Some(0));
}

/// Otherwise each could write any amount before the measurement, and leave the data for the next to begin with.
#[tokio::test(flavor = "multi_thread")]
async fn commands_do_not_fill_a_disk_one_after_the_other_and_end_at_once_where_they_keep_too_much() {
    let limits = edge().with_limit("persist_bytes_max", 1 << 20).with_limit("run_stop_ms", 600_000);
    let (edge, project) = started(limits, "persist = \"data\"");
    let fill = "echo begun; trap '' TERM; for n in 1 2 3 4 5 6; do head -c 900000 /dev/zero > data/$n-$$; done; \
        exec sleep 1000";
    let begins = || {
        let ran = sh(&project, &edge, fill);
        assert!(ran.code == NOT_RUN && ran.stderr.contains("persist_bytes_max"), "{ran:#?}");
        ran.stdout.contains("begun")
    };
    assert!(begins(), "it keeps nothing yet");
    assert!((0..10).any(|_| !begins()), "one after the other begins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_command_is_ended_where_its_environment_keeps_too_much() {
    let edge = edge().with_limit("persist_bytes_max", 1 << 20).with_runner().start();
    let fill = "for n in 1 2 3; do head -c 900000 /dev/zero > data/$n; done; exec sleep 1000";
    let lines = format!("persist = \"data\"\nrelease = [\"sh\", \"-c\", \"{fill}\"]");
    Project::new("game", "one", &lines).fails(&edge, "persist_full");
}

/// A terminal, with the command line inside.
pub(super) struct Seat {
    pub(super) outer: File,
    pub(super) child: Child,
}

impl Seat {
    pub(super) fn new(project: &Project, edge: &Edge, arguments: &[&str]) -> Self {
        let (outer, inner) = terminal(size(30, 100));
        let mut command = edge.command(project.path(), "game", arguments);
        command.env("TERM", "vt100").stdin(inner.try_clone().unwrap()).stdout(inner.try_clone().unwrap()).stderr(inner);
        let child = command.spawn().unwrap();
        Self { outer, child }
    }

    /// Reads up to `text`; returns all text read.
    pub(super) fn read_until(&mut self, text: &str) -> String {
        let mut all = String::new();
        let mut buffer = [0; 1_024];
        while !all.contains(text) {
            let count = rustix::io::read(&self.outer, &mut buffer).unwrap_or_else(|error| panic!("{error}: {all}"));
            all.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        all
    }

    pub(super) fn write(&mut self, text: &str) {
        rustix::io::write(&self.outer, text.as_bytes()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_the_commands_with_its_size_its_keys_and_its_controlling_process() {
    let (edge, project) = started(edge(), "");
    let script = "trap 'echo interrupted; exit 5' INT; trap 'stty size' WINCH; \
                  tty; stty size; echo $TERM; read line < /dev/tty; echo \"said $line\"; while :; do sleep 0.05; done";
    let mut seat = Seat::new(&project, &edge, &["run", "--", "sh", "-c", script]);
    let begin = seat.read_until("vt100");
    assert!(begin.contains("/dev/pts/") && begin.contains("30 100"), "{begin}");
    seat.write("hello\r");
    // The terminal on the edge's side echoes.
    assert!(seat.read_until("said hello").contains("hello"));
    tcsetwinsize(&seat.outer, size(11, 22)).unwrap();
    signal("-WINCH", &seat.child);
    seat.read_until("11 22");
    seat.write("\u{3}");
    seat.read_until("interrupted");
    assert_eq!(seat.child.wait().unwrap().code(), Some(5));

    // Input ends as at a keyboard; without a terminal, the input is empty.
    let mut seat = Seat::new(&project, &edge, &["run", "--", "cat"]);
    seat.write("a\r");
    seat.read_until("a\r\na\r\n");
    seat.write("\u{4}");
    assert!(seat.child.wait().unwrap().success());
    let mut seat = Seat::new(&project, &edge, &["run", "--no-tty", "--", "sh", "-c", "tty || echo none"]);
    seat.read_until("none");
    assert!(seat.child.wait().unwrap().success());

    // A shell ends with its closed terminal, despite ignoring SIGTERM.
    let mut seat = Seat::new(&project, &edge, &["run", "--", "bash", "--norc", "-i"]);
    // The echo of typed text comes before the output.
    seat.write("echo pid-$(($$))-end\r");
    let mut text = String::new();
    let pid = loop {
        text += &seat.read_until("-end");
        let number = text.split("pid-").find_map(|rest| rest.split("-end").next()?.parse().ok());
        if let Some(pid) = number {
            break pid;
        }
    };
    assert!(is_alive(pid));
    seat.child.kill().unwrap();
    seat.child.wait().unwrap();
    gone(pid).await;
}
