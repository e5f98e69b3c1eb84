//! The story of `examples/game`: built by npm, pushed with one command, played in a browser to the end, even during the
//! takeover by the next releases.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::browser::{Browser, Page};
use crate::support::edge::{Edge, Ran, edge};
use crate::support::leave_out;

const GEORGES: &str = "Georgesdelajungle";
const ALADDIN: &str = "Aladdin";
const HOST: &str = "game.localhost";
const STAGING: &str = "staging--game.localhost";

/// A copy of the example, as on a developer's machine.
struct Project {
    folder: TempDir,
}

impl Project {
    /// Copies the files in git, and builds the project; `None` without npm.
    #[track_caller]
    fn built() -> Option<Self> {
        if Command::new("npm").arg("--version").output().is_err() {
            leave_out("npm is not installed, and the game is built by it");
            return None;
        }
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/game");
        let project = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["www", "server", "build.mjs", "package.json", "devanture.toml"] {
            let copied = Command::new("cp").arg("-R").arg(example.join(name)).arg(project.path()).status().unwrap();
            assert!(copied.success(), "{name}");
        }
        // The layout made by `npm install`.
        let packages = project.path().join("node_modules/@devanture");
        std::fs::create_dir_all(&packages).unwrap();
        let service = example.join("../../packages/service");
        assert!(Command::new("cp").arg("-R").arg(service).arg(packages).status().unwrap().success());
        project.build();
        Some(project)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn build(&self) {
        let mut npm = Command::new("npm");
        let built = npm.args(["run", "build"]).current_dir(self.path()).stdin(Stdio::null()).output().unwrap();
        assert!(built.status.success(), "{built:?}");
        for name in
            ["dist/www/index.html", "dist/server/server.js", "dist/server/node_modules/@devanture/service/server.js"]
        {
            assert!(self.path().join(name).is_file(), "{name}");
        }
    }

    /// Changes a text of a source.
    #[track_caller]
    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Writes the address and the credentials of the edge to a private file of the developer, `.env` or a file with the
    /// app's name.
    fn write_env(&self, name: &str, edge: &Edge) {
        let (port, token, ca) = (edge.admin().port(), &edge.token, edge.ca());
        let ca = ca.display();
        let env = format!("DEVANTURE_URL=https://localhost:{port}\nDEVANTURE_TOKEN={token}\nDEVANTURE_CA={ca}\n");
        std::fs::write(self.path().join(name), env).unwrap();
    }

    /// Pushes with the settings of the file only.
    fn try_push(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devanture"));
        command.arg("push").args(arguments).arg("--json").current_dir(self.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        Ran::of(command.output().unwrap())
    }

    /// Pushes successfully. Returns the report and the progress.
    #[track_caller]
    fn push(&self, arguments: &[&str]) -> (Value, String) {
        let ran = self.try_push(arguments);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        (ran.json(), ran.stderr)
    }
}

/// Returns the instances reported as healthy, in their own lines before the switch.
#[track_caller]
fn healthy(progress: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = progress.lines().collect();
    // With --json the address is in the line on the standard output alone.
    let is_ready = |line: &&str| ["ready", "switch"].iter().any(|name| line.trim_start().starts_with(name));
    let ready = lines.iter().position(is_ready).unwrap_or_else(|| panic!("not ready: {progress}"));
    let output = lines.iter().take(ready).filter_map(|line| {
        let (before, after) = line.split_once(" healthy in ")?;
        let (ms, _) = after.split_once(" ms")?;
        assert!(ms.parse::<u64>().is_ok(), "{line}");
        let (node, instance) = before.split_whitespace().last()?.split_once('/')?;
        assert!(!node.is_empty(), "{line}");
        Some(instance.to_owned())
    });
    output.collect()
}

fn three() -> BTreeSet<String> {
    (1..=3).map(|number| format!("web.{number}")).collect()
}

/// Calls a function of the service: the status, and the body.
async fn call(client: &reqwest::Client, url: &str, function: &str, arguments: &Value) -> Result<(u16, Value), String> {
    let request = client.post(format!("{url}api/game/{function}")).json(arguments);
    let answer = request.send().await.map_err(|error| format!("{function}: {error:?}"))?;
    let status = answer.status().as_u16();
    let text = answer.text().await.map_err(|error| format!("{function}: {error:?}"))?;
    let body = serde_json::from_str(&text).map_err(|error| format!("{function}: {status} {text}: {error}"))?;
    Ok((status, body))
}

/// Returns the answer of the service, required to succeed.
#[track_caller]
fn result(answered: Result<(u16, Value), String>) -> Value {
    let (status, body) = answered.unwrap();
    assert_eq!(status, 200, "{body}");
    body["result"].clone()
}

/// Calls repeated until stopped.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<Seen>>,
}

/// Observations of the callers.
#[derive(Default)]
struct Seen {
    calls: usize,
    failed: Vec<String>,
    versions: BTreeSet<String>,
    instances: BTreeSet<String>,
}

impl Load {
    /// Begins to call every read-only function, and one illegal move.
    fn begin(edge: &Edge, host: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let callers = (0..4).map(|number| {
            let (client, url) = (edge.client(number % 2 == 0), edge.url(host, "/"));
            tokio::spawn(until(Arc::clone(&stop), client, url))
        });
        Self { callers: callers.collect(), stop }
    }

    /// Ends the calls. No call may have failed.
    async fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for caller in self.callers {
            let seen = caller.await.unwrap();
            all.calls += seen.calls;
            all.failed.extend(seen.failed);
            all.versions.extend(seen.versions);
            all.instances.extend(seen.instances);
        }
        assert_eq!(all.failed, [""; 0], "of {} calls", all.calls);
        assert!(all.calls > 20, "{} calls", all.calls);
        all
    }
}

async fn until(stop: Arc<AtomicBool>, client: reqwest::Client, url: String) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let requests = [
            ("getGame", json!([]), 200),
            ("isFinished", json!([]), 200),
            ("getWinner", json!([]), 200),
            ("gameAction", json!(["Jafar", "place", [4]]), 409),
            ("about", json!([]), 200),
        ];
        for (function, arguments, expected) in requests {
            seen.calls += 1;
            match call(&client, &url, function, &arguments).await {
                Ok((status, body)) if status == expected => {
                    let found = |name: &str| body["result"][name].as_str().map(str::to_owned);
                    if function == "about" {
                        seen.versions.extend(found("version"));
                        seen.instances.extend(found("instance"));
                    }
                }
                Ok((status, body)) => seen.failed.push(format!("{function}: {status} {body}")),
                Err(error) => seen.failed.push(error),
            }
        }
    }
    seen
}

/// Opens the front, and waits until the page has requested the game.
async fn opened(browser: &Browser, url: &str) -> Page {
    let page = browser.open(url).await;
    page.wait_for("document.documentElement.dataset.ready === 'true'").await;
    page
}

/// Starts a game with the default names.
async fn start(page: &Page) {
    page.evaluate("document.querySelector('#start button').click()").await;
    page.wait_for("document.documentElement.dataset.game === 'on'").await;
}

/// Clicks a cell, and waits for the mark inside.
async fn click(page: &Page, cell: usize, mark: usize) {
    page.evaluate(&format!("document.querySelector('[data-cell=\"{cell}\"]').click()")).await;
    page.wait_for(&format!("document.querySelector('[data-cell=\"{cell}\"]').dataset.mark === '{mark}'")).await;
}

async fn text(page: &Page, selector: &str) -> String {
    let found = page.evaluate(&format!("document.querySelector('{selector}').textContent")).await;
    found.as_str().unwrap().to_owned()
}

/// Checks for errors in the page, except connections cut by a release and reopened by the page.
async fn is_well(page: &Page) {
    let seen = page.report().await;
    let errors: Vec<&String> =
        seen.console_errors.iter().filter(|error| !error.contains("WebSocket connection to")).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(seen.failed_requests, [""; 0]);
}

/// Returns true if the release reported by an instance is `version`, in full or short.
fn is_version(found: &str, version: &Value) -> bool {
    found.len() >= 12 && version.as_str().unwrap().starts_with(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_game_is_played_to_its_winner_while_front_and_backend_are_released() {
    let Some(project) = Project::built() else { return };
    let Some(browser) = Browser::start().await else { return };
    let edge = edge().with_table("[runner]\nenabled = true\n").start();
    project.write_env(".env", &edge);
    let (first, progress) = project.push(&[]);
    assert_eq!(healthy(&progress), three(), "{progress}");

    let page = opened(&browser, &edge.url(HOST, "/")).await;
    assert_eq!(text(&page, "#front").await, first["version"].as_str().unwrap()[..12]);
    start(&page).await;
    let load = Load::begin(&edge, HOST);
    click(&page, 0, 0).await;
    click(&page, 4, 1).await;

    // Both halves are changed, and the game goes on during the takeover.
    project.change("www/index.html", "<h1>Three in the jungle</h1>", "<h1>The second jungle</h1>");
    project.change("server/rules.js", "the game is over", "this game is over, as the second release says");
    project.build();
    let project = Arc::new(project);
    let pushed = Arc::clone(&project);
    let pushing = tokio::task::spawn_blocking(move || pushed.push(&[]));
    click(&page, 1, 0).await;
    let (second, progress) = pushing.await.unwrap();
    assert_eq!(healthy(&progress), three(), "{progress}");
    assert_eq!(second["previous"], first["version"]);
    click(&page, 5, 1).await;
    assert_eq!(text(&page, "#status").await, format!("{GEORGES} is to move (✕)"));
    click(&page, 2, 0).await;
    assert_eq!(text(&page, "#status").await, format!("{GEORGES} has won!"));
    page.evaluate("window.dispatchEvent(new Event('online'))").await;
    page.wait_for("!document.querySelector('#news').hidden").await;
    is_well(&page).await;

    // A newly loaded page has the second front, and the same game.
    let other = opened(&browser, &edge.url(HOST, "/")).await;
    assert_eq!(text(&other, "h1").await, "The second jungle");
    assert_eq!(text(&other, "#status").await, format!("{GEORGES} has won!"));
    assert_eq!(text(&other, "#front").await, second["version"].as_str().unwrap()[..12]);
    is_well(&other).await;

    let seen = load.end().await;
    assert_eq!(seen.instances, three());
    for report in [&first, &second] {
        let version = &report["version"];
        assert!(seen.versions.iter().any(|found| is_version(found, version)), "{version}: {:?}", seen.versions);
    }
    let late = call(&edge.client(true), &edge.url(HOST, "/"), "gameAction", &json!([ALADDIN, "place", [8]])).await;
    assert_eq!(late.unwrap().1["message"], "this game is over, as the second release says");
}

#[tokio::test(flavor = "multi_thread")]
async fn front_and_backend_are_released_each_alone() {
    let Some(project) = Project::built() else { return };
    let Some(browser) = Browser::start().await else { return };
    let edge = edge().with_table("[runner]\nenabled = true\n").start();
    project.write_env(".env", &edge);
    project.push(&[]);
    let page = opened(&browser, &edge.url(HOST, "/")).await;
    start(&page).await;
    click(&page, 4, 0).await;
    let load = Load::begin(&edge, HOST);

    project.change("www/index.html", "<h1>Three in the jungle</h1>", "<h1>The front alone</h1>");
    project.build();
    let (front, _) = project.push(&[]);
    assert_eq!(front["files"]["new"], 1, "{front}");
    click(&page, 0, 1).await;
    page.go(&edge.url(HOST, "/")).await;
    page.wait_for("document.documentElement.dataset.ready === 'true'").await;
    assert_eq!(text(&page, "h1").await, "The front alone");

    project.change("server/rules.js", "nobody of that name plays", "nobody of that name has ever played");
    project.build();
    let (backend, progress) = project.push(&[]);
    assert_eq!(backend["files"]["new"], 1, "{backend}");
    assert_eq!(healthy(&progress), three(), "{progress}");
    click(&page, 1, 0).await;
    let client = edge.client(true);
    let stranger = call(&client, &edge.url(HOST, "/"), "gameAction", &json!(["Jafar", "place", [8]])).await.unwrap();
    assert_eq!(stranger.1["message"], "nobody of that name has ever played in this game");
    assert_eq!(text(&page, "h1").await, "The front alone");

    // A repeated push changes nothing, and a rollback is as quick as for files.
    let (same, _) = project.push(&[]);
    assert_eq!(same["version"], backend["version"]);
    edge.json("game", &["rollback"]);
    click(&page, 8, 1).await;
    let stranger = call(&client, &edge.url(HOST, "/"), "gameAction", &json!(["Jafar", "place", [3]])).await.unwrap();
    assert_eq!(stranger.1["message"], "nobody of that name plays in this game");
    click(&page, 7, 0).await;
    assert_eq!(text(&page, "#status").await, format!("{GEORGES} has won!"));
    is_well(&page).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_has_its_own_instances_and_its_own_game() {
    let Some(project) = Project::built() else { return };
    let Some(browser) = Browser::start().await else { return };
    let edge = edge().with_table("[runner]\nenabled = true\n").start();
    project.write_env(".env.game", &edge);
    let (_, progress) = project.push(&[]);
    assert_eq!(healthy(&progress), three(), "{progress}");
    let client = edge.client(true);
    let players = json!([{"name": GEORGES}, {"name": ALADDIN}]);
    let live = edge.url(HOST, "/");
    result(call(&client, &live, "createGame", &players).await);
    result(call(&client, &live, "gameAction", &json!([GEORGES, "place", [4]])).await);

    let toml = project.path().join("devanture.toml");
    let found = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, found + "\n[env.staging.server]\ninstances = 1\n").unwrap();
    let (_, progress) = project.push(&["--env", "staging"]);
    assert_eq!(healthy(&progress), BTreeSet::from(["web.1".to_owned()]), "{progress}");

    // The call of the story, as made by a page.
    let staging = edge.url(STAGING, "/");
    assert_eq!(result(call(&client, &staging, "getGame", &json!([])).await), Value::Null);
    let page = opened(&browser, &staging).await;
    let created = "import('/service/index.js').then(({ service }) => { const game = service('game'); return \
                   game.createGame({\"name\": \"Georgesdelajungle\"}, {\"name\": \"Aladdin\"}) })";
    assert_eq!(page.evaluate(created).await["turn"], GEORGES);
    // The page is notified by the event.
    page.wait_for("document.documentElement.dataset.game === 'on'").await;
    let names = "import('/service/index.js').then(({ service }) => service('game').isFinished('too', 'many'))";
    assert!(page.try_evaluate(names).await.unwrap_err().contains("takes 0 arguments"));
    click(&page, 0, 0).await;
    page.evaluate("document.querySelector('#end').click()").await;
    page.wait_for("document.documentElement.dataset.game === 'over'").await;
    assert_eq!(text(&page, "#status").await, "The game was ended.");

    let untouched = result(call(&client, &live, "getGame", &json!([])).await);
    assert_eq!(untouched["turn"], ALADDIN);
    assert_eq!(untouched["board"], json!([null, null, null, null, 0, null, null, null, null]));
}

/// A backend of the game not managed by the edge, killed on drop.
struct Instance {
    child: Child,
    port: u16,
    /// Kept open: without a reader of its output, an instance must not get a broken pipe.
    _stdout: std::io::BufReader<ChildStdout>,
}

impl Instance {
    fn start(server: PathBuf, data: &Path, number: usize) -> Self {
        let mut node = Command::new("node");
        node.arg("server.js").current_dir(server).stdin(Stdio::null()).stdout(Stdio::piped());
        node.env("PORT", "0").env("DEVANTURE_DATA", data).env("DEVANTURE_INSTANCE", format!("web.{number}"));
        let mut child = node.spawn().unwrap();
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        let (_, port) = line.trim_end().rsplit_once(' ').unwrap();
        Self { child, port: port.parse().unwrap(), _stdout: stdout }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The process may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_game_is_played_over_backends_that_somebody_else_runs() {
    let Some(project) = Project::built() else { return };
    let Some(browser) = Browser::start().await else { return };
    let edge = edge().start();
    project.write_env(".env", &edge);
    let data = tempfile::tempdir().unwrap();
    let start_one = |number| Instance::start(project.path().join("dist/server"), data.path(), number);
    let instances: Vec<Instance> = (1..=3).map(start_one).collect();
    let members: Vec<String> = instances.iter().map(|one| format!("\"http://127.0.0.1:{}\"", one.port)).collect();
    let toml = format!(
        "app = \"game\"\nwww = \"dist/www\"\n[[routes]]\npath = \"/api/*\"\nto = \"game\"\n\
         [upstreams.game]\nto = [{}]\n",
        members.join(", ")
    );
    std::fs::write(project.path().join("devanture.toml"), toml).unwrap();
    project.push(&[]);

    let pages = [opened(&browser, &edge.url(HOST, "/")).await, opened(&browser, &edge.url(HOST, "/")).await];
    start(&pages[0]).await;
    let load = Load::begin(&edge, HOST);
    for (turn, cell) in [0, 4, 1, 5].into_iter().enumerate() {
        // Two people at two browsers: each sees a move of the opponent at once.
        pages[1 - turn % 2].wait_for("document.documentElement.dataset.game === 'on'").await;
        click(&pages[turn % 2], cell, turn % 2).await;
        let mark = format!("document.querySelector('[data-cell=\"{cell}\"]').dataset.mark === '{}'", turn % 2);
        pages[1 - turn % 2].wait_for(&mark).await;
    }
    project.change("www/index.html", "<h1>Three in the jungle</h1>", "<h1>The front alone</h1>");
    project.build();
    project.push(&[]);
    click(&pages[0], 2, 0).await;
    pages[1].wait_for("document.documentElement.dataset.game === 'over'").await;
    for page in &pages {
        assert_eq!(text(page, "#status").await, format!("{GEORGES} has won!"));
        is_well(page).await;
    }
    assert_eq!(load.end().await.instances, three());
}
