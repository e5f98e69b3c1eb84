//! Signatures by keys of `ssh-keygen` and an `ssh-agent`, tampered logs, and lying sites. The story of
//! `docs/signing.md` is in [`stories`](super::stories).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::edge::{Edge, Ran, edge};

/// Returns true if OpenSSH is installed; fails if all tools are required.
pub(super) fn is_installed() -> bool {
    let is_there = |program: &&str| {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
    };
    let missing: Vec<_> = ["ssh-keygen", "ssh-agent", "ssh-add"].into_iter().filter(|name| !is_there(name)).collect();
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(missing.is_empty() || !is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "{missing:?} are not installed");
    if !missing.is_empty() {
        eprintln!("left out: {missing:?} are not installed");
    }
    missing.is_empty()
}

/// Makes a folder with a project of two pages, whose first version is live and unsigned.
fn project(edge: &Edge) -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    let folder = project.path();
    std::fs::write(folder.join("devanture.toml"), "app = \"shop\"\nwww = \"www\"\n").unwrap();
    std::fs::create_dir(folder.join("www")).unwrap();
    std::fs::write(folder.join("www/about.html"), "<title>about</title>".repeat(100)).unwrap();
    write(folder, "one");
    assert_eq!(run(edge, folder, "push").code, Some(0));
    project
}

fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("www/index.html"), format!("<title>{text}</title>")).unwrap();
}

#[track_caller]
fn run(edge: &Edge, folder: &Path, line: &str) -> Ran {
    let arguments: Vec<&str> = line.split(' ').collect();
    Ran::of(edge.command(folder, "shop", &arguments).output().unwrap())
}

#[track_caller]
fn succeeds(edge: &Edge, folder: &Path, line: &str) -> Ran {
    let ran = run(edge, folder, line);
    assert_eq!(ran.code, Some(0), "{line}: {ran:#?}\n{}", edge.log());
    ran
}

/// Makes a key in a folder.
fn make_key(folder: &Path, name: &str, passphrase: &str) {
    let arguments = ["-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", name];
    assert!(Command::new("ssh-keygen").args(arguments).current_dir(folder).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_the_live_log_is_continued_and_a_changed_one_is_found() {
    if !is_installed() {
        return;
    }
    let edge = edge().start();
    let project = project(&edge);
    let folder = project.path();
    let site = edge.url("shop.localhost", "/");
    for name in ["ada", "bob", "eve"] {
        make_key(folder, name, "");
    }
    succeeds(&edge, folder, "signers set ada.pub bob.pub --min 2");
    write(folder, "two");
    let version = succeeds(&edge, folder, "push --sign ada --sign bob --json").json()["version"].clone();
    let log = succeeds(&edge, folder, "live-log --export").stdout;
    assert_eq!(log.lines().count(), 2, "{log}");
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((&last["version"], last["signed_by"].as_array().unwrap().len()), (&version, 2));

    // The log continues the stored export.
    std::fs::write(folder.join("log.ndjson"), &log).unwrap();
    write(folder, "three");
    succeeds(&edge, folder, "push --sign ada --sign bob");
    let verify = format!("verify {site} --signer ada.pub --log log.ndjson");
    let verified = run(&edge, folder, &format!("{verify} --json")).json();
    let counts = ["same", "log_entries", "log_kept"].map(|name| verified[name].as_u64().unwrap());
    assert_eq!((counts, &verified["foreign"]), ([2, 3, 2], &serde_json::json!([])), "{verified}");
    std::fs::write(folder.join("log.ndjson"), log.replacen("\"number\":1", "\"number\":7", 1)).unwrap();
    assert_eq!(run(&edge, folder, &format!("{verify} --json")).problem(), "live_log_broken");
    let by_eve = run(&edge, folder, &format!("verify {site} --signer eve.pub --json"));
    assert_eq!((by_eve.code, by_eve.problem().as_str()), (Some(1), "not_signed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_foresees_that_signatures_are_missing_or_a_canary_runs() {
    if !is_installed() {
        return;
    }
    let edge = edge().start();
    let project = project(&edge);
    let folder = project.path();
    make_key(folder, "ada", "");
    succeeds(&edge, folder, "signers set ada.pub");
    // The live version stays live, without a signature.
    succeeds(&edge, folder, "push --dry-run");
    write(folder, "two");
    for line in ["push --dry-run --json", "push --json"] {
        let refused = run(&edge, folder, line);
        assert_eq!((refused.code, refused.problem().as_str()), (Some(1), "not_signed"), "{line}: {refused:#?}");
    }
    // A stored version can be inspected before signing.
    let refused = run(&edge, folder, "push");
    assert!(refused.stderr.contains("Its preview: https://"), "{refused:#?}");
    for line in ["push --dry-run --sign ada", "push --dry-run --no-switch", "push --dry-run --alias next"] {
        succeeds(&edge, folder, line);
    }
    succeeds(&edge, folder, "push --sign ada --canary 10");
    write(folder, "three");
    for line in ["push --dry-run --sign ada --json", "push --sign ada --json"] {
        assert_eq!(run(&edge, folder, line).problem(), "canary_running", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_learns_whether_it_is_enough() {
    if !is_installed() {
        return;
    }
    let edge = edge().start();
    let project = project(&edge);
    let folder = project.path();
    for name in ["ada", "bob", "eve"] {
        make_key(folder, name, "");
    }
    write(folder, "two");
    let version = succeeds(&edge, folder, "push --no-switch --json").json()["version"].as_str().unwrap().to_owned();
    succeeds(&edge, folder, "signers set ada.pub bob.pub --min 2");
    for (signer, text) in [
        ("eve", "0 of the 2 signatures that prod wants; of its signers these have not signed: ada ("),
        ("ada", "1 of the 2 signatures that prod wants; of its signers these have not signed: bob ("),
        ("bob", "2 of the 2 signatures that prod wants: `devanture switch"),
    ] {
        let signed = succeeds(&edge, folder, &format!("sign {version} --key {signer}"));
        assert!(signed.stderr.contains(text), "{signed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_keygen_makes_and_checks_the_same_signatures() {
    if !is_installed() {
        return;
    }
    let edge = edge().start();
    let project = project(&edge);
    let folder = project.path();
    make_key(folder, "ada", "");
    write(folder, "two");
    succeeds(&edge, folder, "push --sign ada");
    let version = run(&edge, folder, "status --json").json()["version"].as_str().unwrap().to_owned();
    let listed = run(&edge, folder, &format!("sign {} --json", &version[..8])).json();
    let signature = listed["signatures"][0]["signature"].as_str().unwrap();
    std::fs::write(folder.join("text"), format!("devanture-version@1\napp shop\nversion {version}\n")).unwrap();
    let keygen = ["-q", "-Y", "sign", "-n", "devanture-version@1", "-f", "ada", "text"];
    assert!(Command::new("ssh-keygen").args(keygen).current_dir(folder).status().unwrap().success());
    // Ed25519 is deterministic: one signature per text.
    assert_eq!(std::fs::read_to_string(folder.join("text.sig")).unwrap(), signature);
    let public = std::fs::read_to_string(folder.join("ada.pub")).unwrap();
    std::fs::write(folder.join("allowed"), format!("ada {public}")).unwrap();
    let check = ["-Y", "verify", "-f", "allowed", "-I", "ada", "-n", "devanture-version@1", "-s", "text.sig"];
    let text = std::fs::File::open(folder.join("text")).unwrap();
    let checked = Command::new("ssh-keygen").args(check).current_dir(folder).stdin(text).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

/// An `ssh-agent`, ended on drop.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("agent");
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a"]).arg(&socket).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        // The agent prints its address once listening.
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("SSH_AUTH_SOCK"), "{line}");
        Self { process, socket }
    }

    fn run(&self, edge: &Edge, folder: &Path, line: &str) -> Ran {
        let arguments: Vec<&str> = line.split(' ').collect();
        let mut command = edge.command(folder, "shop", &arguments);
        Ran::of(command.env("SSH_AUTH_SOCK", &self.socket).output().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_a_passphrase_signs_through_the_agent() {
    if !is_installed() {
        return;
    }
    let edge = edge().start();
    let project = project(&edge);
    let folder = project.path();
    make_key(folder, "plain", "");
    make_key(folder, "sealed", "a passphrase");
    let agent = Agent::start(folder);
    succeeds(&edge, folder, "signers set plain.pub sealed.pub");
    write(folder, "two");
    for line in ["push --sign sealed", "push --sign plain.pub"] {
        let refused = agent.run(&edge, folder, line);
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.stderr.contains("ssh-agent") && refused.stderr.contains("ssh-add"), "{refused:#?}");
        let without = run(&edge, folder, line);
        assert!(without.stderr.contains("SSH_AUTH_SOCK names none"), "{without:#?}");
    }
    // The test types no passphrase: the agent has the plain key, and signs by the public key.
    let added = Command::new("ssh-add").arg("plain").current_dir(folder).env("SSH_AUTH_SOCK", &agent.socket).output();
    assert!(added.unwrap().status.success());
    let pushed = agent.run(&edge, folder, "push --sign plain.pub");
    assert_eq!(pushed.code, Some(0), "{pushed:#?}");
    assert!(pushed.stderr.contains("sign "), "{pushed:#?}");
    // An unusable key is reported before any request.
    std::fs::write(folder.join("nonsense"), "nonsense").unwrap();
    for key in ["nonsense", "missing"] {
        assert_eq!(run(&edge, folder, &format!("push --sign {key}")).code, Some(2), "{key}");
    }
    assert_eq!(run(&edge, folder, "push --only front --sign plain").code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_the_hashes_of_what_it_loads_is_the_signed_one() {
    if !is_installed() {
        return;
    }
    let edge = edge().start();
    let project = project(&edge);
    let folder = project.path();
    make_key(folder, "ada", "");
    std::fs::write(folder.join("devanture.toml"), "app = \"shop\"\nwww = \"www\"\nintegrity = \"enforce\"\n").unwrap();
    std::fs::write(folder.join("www/a.js"), "1").unwrap();
    std::fs::write(folder.join("www/index.html"), "<title>two</title><script src=a.js></script>").unwrap();
    // This page gets an import map with the hash of a module.
    let about = format!("{}<script>import('/a.js')</script>", "<title>about</title>".repeat(100));
    std::fs::write(folder.join("www/about.html"), &about).unwrap();
    succeeds(&edge, folder, "push --sign ada");
    let verify = |site: String| run(&edge, folder, &format!("verify {site} --signer ada.pub --json"));
    let verified = verify(edge.url("shop.localhost", "/"));
    assert_eq!((verified.code, verified.json()["same"].as_u64()), (Some(0), Some(3)), "{verified:#?}");
    // No further insertion is accepted.
    let page = |text: &str| format!("<title>two</title><script{text} src=a.js></script>").into_bytes();
    let hash = format!("sha256-{}=", "A".repeat(43));
    let attribute = format!(" integrity=\"{hash}\"");
    let map = |more: &str| {
        let map = format!("<script type=\"importmap\">{{\"integrity\" :{{\"/a.js\":\"{hash}\"}}{more}}}</script>");
        about.replace("<script>", &format!("{map}<script>"))
    };
    for (text, about, is_signed) in [
        (attribute.as_str(), about.clone(), true),
        (" onload=\"evil()\"", about.clone(), false),
        ("", map(""), true),
        ("", map(",\"imports\":{\"/a.js\":\"/evil.js\"}"), false),
    ] {
        let files = [("/index.html", page(text)), ("/about.html", about.into_bytes()), ("/a.js", b"1".to_vec())];
        let found = verify(format!("http://{}/", serve(BTreeMap::from(files), String::new())));
        assert_eq!(found.code, Some(i32::from(!is_signed)), "{text}: {found:#?}");
    }
}

/// Serves a site from a server that is no edge, with the given answers, until the test ends.
fn serve(files: BTreeMap<&'static str, Vec<u8>>, field: String) -> SocketAddr {
    serve_as("200 OK", files, field)
}

/// Serves a site as [`serve`] does, with a given status.
fn serve_as(status: &'static str, files: BTreeMap<&'static str, Vec<u8>>, field: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            while reader.read_line(&mut line).is_ok_and(|length| length > 2) {}
            let (status, body) = match files.get(path.as_str()) {
                Some(body) => (status, body.as_slice()),
                None => ("404 Not Found", &b"none"[..]),
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{field}connection: close\r\n\r\n");
            stream.write_all(&[head.as_bytes(), body].concat()).ok();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_of_a_live_site_is_found() {
    if !is_installed() {
        return;
    }
    let edge = edge().start();
    let project = project(&edge);
    let folder = project.path();
    make_key(folder, "ada", "");
    write(folder, "two");
    succeeds(&edge, folder, "push --sign ada");
    let version = run(&edge, folder, "status --json").json()["version"].as_str().unwrap().to_owned();
    let verify = |site: String| run(&edge, folder, &format!("verify {site} --signer ada.pub --json"));
    let whole = verify(edge.url("shop.localhost", "/")).json();
    assert_eq!((whole["same"].as_u64(), whole["unchecked"].as_array().unwrap().len()), (Some(2), 0), "{whole}");

    let index = b"<title>two</title>".to_vec();
    let about = "<title>about</title>".repeat(100).into_bytes();
    let site = |index: &[u8]| BTreeMap::from([("/index.html", index.to_vec()), ("/about.html", about.clone())]);
    let honest = verify(format!("http://{}/", serve(site(&index), String::new()))).json();
    assert_eq!(honest["same"], 2, "{honest}");
    let mut changed = index.clone();
    changed[8] ^= 1;
    let found = verify(format!("http://{}/", serve(site(&changed), String::new())));
    assert_eq!((found.code, found.problem().as_str()), (Some(1), "foreign_bytes"), "{found:#?}");
    // A different file of the version, or a missing file, is detected, too; a site with such a rule excepts the file.
    let swapped = format!("http://{}/", serve(site(&about), String::new()));
    assert_eq!(verify(swapped.clone()).problem(), "foreign_bytes");
    let excepted = verify(format!("{swapped} --except index.html")).json();
    assert_eq!(
        (excepted["same"].as_u64(), excepted["unchecked"].as_array().unwrap().len()),
        (Some(1), 1),
        "{excepted}"
    );
    // A page by its address, too.
    let by_address = verify(format!("{swapped} --except /")).json();
    assert_eq!(by_address["unchecked"][0]["path"], "index.html", "{by_address}");
    let login = BTreeMap::from(["/index.html", "/about.html"].map(|path| (path, b"a login".to_vec())));
    let protected = verify(format!("http://{}/", serve_as("401 Unauthorized", login, String::new())));
    assert!(protected.stderr.contains("`devanture protect`"), "{protected:#?}");
    let bare = format!("http://{}/", serve(BTreeMap::new(), String::new()));
    let none = verify(bare.clone());
    assert!(
        none.problem() == "foreign_bytes" && none.stderr.contains("2 files of the site are not there"),
        "{none:#?}"
    );
    assert_eq!(verify(format!("{bare} --except *")).code, Some(0));
    // Regardless of the status, and of the number of coded bytes that decode to nothing.
    let odd = |status: &'static str, field: &str, body: Vec<u8>| {
        let files = BTreeMap::from([("/index.html", body), ("/about.html", about.clone())]);
        verify(format!("http://{}/", serve_as(status, files, field.to_owned())))
    };
    for status in ["203 Non-Authoritative Information", "300 Multiple Choices", "403 Forbidden", "404 Not Found"] {
        assert_eq!(odd(status, "", b"<script>evil()</script>".to_vec()).problem(), "foreign_bytes", "{status}");
    }
    assert_eq!(odd("302 Found", "location: https://evil.example/\r\n", Vec::new()).problem(), "foreign_bytes");
    let mut empty = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    empty.flush().unwrap();
    let members = empty.finish().unwrap().repeat(100_000);
    assert_eq!(odd("200 OK", "content-encoding: gzip\r\n", members).problem(), "foreign_bytes");
    // The right bytes under the id of a different version, and a coding that hides further bytes.
    let other = format!("devanture-version: {}\r\n", "0".repeat(12));
    assert_eq!(verify(format!("http://{}/", serve(site(&index), other))).problem(), "foreign_bytes");
    let own = format!("devanture-version: {}\r\ncontent-encoding: gzip\r\n", &version[..12]);
    assert_eq!(verify(format!("http://{}/", serve(site(&index), own))).problem(), "foreign_bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_not_broken_where_versions_go_live_meanwhile_and_an_empty_file_is_none() {
    if !is_installed() {
        return;
    }
    let edge = edge().start();
    let project = project(&edge);
    let folder = project.path();
    let site = edge.url("shop.localhost", "/");
    make_key(folder, "ada", "");
    let versions = ["two", "three"].map(|text| {
        write(folder, text);
        let pushed = succeeds(&edge, folder, "push --sign ada --json").json();
        pushed["version"].as_str().unwrap().to_owned()
    });
    let verify = format!("verify {site} --signer ada.pub --json");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let turns = versions.iter().cycle().take_while(|_| !is_over.load(std::sync::atomic::Ordering::Relaxed));
            turns.for_each(|version| drop(run(&edge, folder, &format!("switch {version}"))));
        });
        let ran: Vec<Ran> = (0..10).map(|_| run(&edge, folder, &verify)).collect();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        for ran in ran.iter().filter(|ran| ran.code != Some(0)) {
            assert_eq!(ran.problem(), "live_moved", "{ran:#?}");
        }
    });
    for (text, why) in [("", "it has no entry"), ("\n{\"number\":\n", "its line 2 is no entry")] {
        std::fs::write(folder.join("log.ndjson"), text).unwrap();
        let refused = run(&edge, folder, &format!("verify {site} --signer ada.pub --log log.ndjson"));
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.stderr.contains(why), "{refused:#?}");
    }
}
