//! `devanture data`: a backend's data, downloaded to this machine and uploaded again.

use std::fs;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

use crate::support::edge::{Edge, Ran, edge, files};
use crate::support::managed::{Project, eventually};

/// The action of a [`Relay`] after the allowed bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Breaks,
    Stalls,
}

/// Relays connections to an edge; the first connections get a limited number of bytes.
struct Relay {
    address: SocketAddr,
    /// Relayed bytes from the edge.
    passed: Arc<AtomicUsize>,
}

impl Relay {
    async fn start(edge: &Edge, connections: usize, bytes_max: usize, then: Then) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, passed) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (to, count) = (edge.admin(), Arc::clone(&passed));
        tokio::spawn(async move {
            for number in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                let bytes_max = if number < connections { bytes_max } else { usize::MAX };
                tokio::spawn(pass(client, to, bytes_max, then, Arc::clone(&count)));
            }
        });
        Self { address, passed }
    }

    fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }

    /// Returns the command `devanture data pull` through the relay.
    fn pull(&self, edge: &Edge, project: &Project, to: &str) -> Command {
        let mut command = edge.command(project.path(), "game", &["data", "pull", to]);
        command.env("DEVANTURE_URL", format!("https://{}", self.address));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

async fn pass(client: TcpStream, edge: SocketAddr, mut left: usize, then: Then, count: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(edge).await else { return };
    let ((mut from_client, mut to_client), (mut from_edge, mut to_edge)) = (client.into_split(), server.into_split());
    let down = async {
        let mut buffer = vec![0; 16 * 1024];
        while left > 0 {
            let end = left.min(buffer.len());
            let Ok(length @ 1..) = from_edge.read(&mut buffer[..end]).await else { return };
            left -= length;
            count.fetch_add(length, Ordering::Relaxed);
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
        if then == Then::Stalls {
            pending::<()>().await;
        }
    };
    tokio::select! {
        _ = copy(&mut from_client, &mut to_edge) => {}
        () = down => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_downloaded_replaced_and_restored_by_its_commands() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "persist = \"data\"");
    project.push(&edge);
    let keep = async |text: &str| {
        let url = edge.url("game.localhost", "/api/keep");
        let answer = edge.client(true).post(url).body(text.to_owned()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap())
    };
    assert_eq!(keep("first").await, (200, "first".to_owned()));
    let run = |arguments: &[&str]| {
        let ran = project.run(&edge, &[&["data"], arguments].concat());
        assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
        ran
    };
    let listed = run(&["list", "--json"]).json();
    assert_eq!((&listed["entries"][0]["path"], &listed["bytes"]), (&"kept".into(), &5.into()));
    run(&["pull", "copy"]);
    run(&["pull", "copy.tar.zst"]);
    assert_eq!(fs::read_to_string(project.path().join("copy/kept")).unwrap(), "first");
    let again = project.run(&edge, &["data", "pull", "copy", "--json"]);
    assert_eq!((again.code, again.json()["error"]["code"].as_str()), (Some(2), Some("usage")), "{again:#?}");
    let dry = run(&["snapshot", "mine", "--dry-run", "--json"]).json();
    assert_eq!(dry["dry_run"], true);
    run(&["snapshot", "mine"]);
    // A folder replaces existing data only after confirmation.
    project.write("copy/kept", "of a folder, ");
    for arguments in [["push", "copy"].as_slice(), &["push", "copy", "--replace"]] {
        let ran = project.run(&edge, &[&["data"], arguments].concat());
        assert_ne!(ran.code, Some(0), "{ran:#?}");
    }
    // A dry run is refused as the push would be.
    let dry = project.run(&edge, &["data", "push", "copy", "--dry-run", "--json"]);
    assert_eq!(dry.json()["error"]["code"], "conflict", "{dry:#?}");
    let dry = run(&["push", "copy", "--replace", "--dry-run", "--json"]).json();
    assert_eq!((&dry["dry_run"], &dry["files"]), (&true.into(), &1.into()), "{dry}");
    let pushed = run(&["push", "copy", "--replace", "--yes", "--json"]).json();
    let before = pushed["snapshot"].as_str().unwrap().to_owned();
    let is_kept = async |text: &str| keep("").await == (200, text.to_owned());
    eventually("the backend has the folder", async || is_kept("of a folder, ").await.then_some(())).await;
    run(&["push", "copy.tar.zst", "--replace", "--yes"]);
    eventually("the backend has the archive", async || is_kept("first").await.then_some(())).await;
    keep(" and more").await;
    run(&["restore", "mine", "--yes"]);
    eventually("the backend has the snapshot", async || is_kept("first").await.then_some(())).await;
    let text = run(&["list"]).stdout;
    assert!(text.contains(&before) && text.contains("mine"), "{text}");
    assert_eq!(run(&["delete", "mine", "--dry-run", "--json"]).json()["dry_run"], true);
    run(&["delete", "mine", "--yes"]);
    let gone = project.run(&edge, &["data", "restore", "mine", "--yes", "--json"]);
    assert_eq!(gone.json()["error"]["code"], "not_found", "{gone:#?}");
    assert!(!gone.stdout.contains("persist"), "a snapshot is missing, and no data: {gone:#?}");
    let nothing = project.run(&edge, &["data", "list", "--env", "staging", "--json"]);
    assert_eq!(nothing.json()["error"]["code"], "not_found", "{nothing:#?}");
    assert!(nothing.json()["error"]["hint"].as_str().unwrap().contains("`persist` below [server]"), "{nothing:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_off_goes_on_behind_what_has_come() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "persist = \"data\"");
    project.push(&edge);
    let sh = |script: &str| {
        let ran = project.run(&edge, &["run", "--", "sh", "-c", script]);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
    };
    sh("mkdir data/deep; for name in b c deep/d; do head -c 1000000 /dev/urandom > data/$name; done");
    let at = |name: &str| project.path().join(name);
    let pulled = |name: &str| {
        let ran = project.run(&edge, &["data", "pull", name]);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        fs::read(at(name)).unwrap_or_default()
    };
    let whole = pulled("whole.tar.zst");
    pulled("whole");

    // Over broken connections, into an archive and into a folder.
    for name in ["broken.tar.zst", "broken"] {
        let relay = Relay::start(&edge, 3, 800_000, Then::Breaks).await;
        let ran = Ran::of(relay.pull(&edge, &project, name).output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        assert_eq!(ran.stderr.matches("goes on behind").count(), 3, "{ran:#?}");
        assert!(relay.passed() < whole.len() + 300_000, "{} bytes passed", relay.passed());
    }
    assert!(fs::read(at("broken.tar.zst")).unwrap() == whole);
    assert!(files(&at("broken")) == files(&at("whole")));

    // After a kill of the program, the next run resumes.
    let ended = async |name: &str| {
        let relay = Relay::start(&edge, 1, 1_500_000, Then::Stalls).await;
        let mut child = relay.pull(&edge, &project, name).spawn().unwrap();
        let part = at(&format!("{name}.partial"));
        let has_come = || fs::metadata(&part).is_ok_and(|found| found.len() > 1_200_000);
        eventually("a part of the archive", async || has_come().then_some(())).await;
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(part.exists() && !at(name).exists());
    };
    let gone_on = async |name: &str| {
        let relay = Relay::start(&edge, 0, 0, Then::Breaks).await;
        let ran = Ran::of(relay.pull(&edge, &project, name).output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        assert!(!at(&format!("{name}.partial")).exists());
        (fs::read(at(name)).unwrap(), ran.stderr, relay.passed())
    };
    ended("ended.tar.zst").await;
    let (archive, _, passed) = gone_on("ended.tar.zst").await;
    assert!(archive == whole && passed < whole.len() - 1_000_000, "{passed} bytes passed");

    // Changes behind the part are downloaded in their current form; after a change before, the download restarts.
    ended("late.tar.zst").await;
    sh("echo late > data/z; printf 'SQLite format 3\\000' > data/a-database");
    let (archive, _, _) = gone_on("late.tar.zst").await;
    assert!(archive == pulled("with-late.tar.zst"));
    ended("early.tar.zst").await;
    sh("echo early > data/a-first");
    let (archive, notes, _) = gone_on("early.tar.zst").await;
    assert!(notes.contains("begins again"), "{notes}");
    assert!(archive == pulled("with-early.tar.zst"));
    // The same after a file that is no part of an archive at all.
    fs::write(at("zeros.tar.zst.partial"), [0; 1_000]).unwrap();
    let (archive, notes, _) = gone_on("zeros.tar.zst").await;
    assert!(notes.contains("begins again") && archive == pulled("with-zeros.tar.zst"), "{notes}");
}
