//! Headless Chromium: opens pages as a visitor would and reports what went wrong in them.
//!
//! The browser takes every certificate, or that of one key, so that the self-signed mode can be looked at; that a
//! certificate is right is for other tests. It talks to nobody by itself, and has a profile of its own that goes with
//! it.

mod base64;
mod state;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};

pub(crate) use self::state::{PageReport, Stub};
use self::state::{State, exception_text};
use super::cdp::Client;

/// How long the browser may take to start: on a busy machine with two cores it is seconds.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// What the browser says of a question to a page that has been left.
const LEFT: &str = "navigated or closed";
/// Most pages that are left while one question is asked.
const LEFT_PAGES_MAX: usize = 5;
/// How long a page may take until it is loaded and quiet.
const LOAD_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a page may take until what a test waits for is true in it.
const WAIT_TIME_MAX: Duration = Duration::from_secs(120);
/// How long the page looks for that before it answers: less than the time that a command may take.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);
/// Why requests fail when an address of the machine comes or goes, such as that of a network of containers: the browser
/// breaks off whatever is under way, to this machine too.
const NETWORK_CHANGED: &str = "net::ERR_NETWORK_CHANGED";
/// Most loads of a page during which that happens.
const LOADS_MAX: usize = 5;
/// A page is quiet when no request was under way for so long.
const QUIET_TIME: Duration = Duration::from_millis(500);

const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--remote-debugging-port=0",
];

/// Has the browser speak HTTP/3 where it is offered. It takes a certificate of a private authority for it only on
/// origins that `--origin-to-force-quic-on` names, on which it speaks nothing else.
pub(crate) const HTTP3: &str = "--enable-quic";

/// Whose certificates the browser takes, beside those that are right.
pub(crate) enum Trusted<'s> {
    /// Everybody's. What the browser does over connections with such errors is less than usual: it uses no
    /// dictionaries.
    Everybody,
    /// That of the key whose SHA-256 this is, in base64.
    Key(&'s str),
}

/// A running Chromium, ended when it is dropped.
pub(crate) struct Browser {
    client: Client,
    process: Process,
}

/// The process and its profile. The process is ended first, as it writes into the profile.
struct Process {
    child: Child,
    _profile: Option<tempfile::TempDir>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and a test that fails here would hide its own message.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An open page, with cookies and a cache of its own.
pub(crate) struct Page {
    client: Client,
    /// `None` if it is that of the profile.
    context: Option<String>,
    session: String,
    watched: Arc<Watched>,
}

#[derive(Default)]
struct Watched {
    state: Mutex<State>,
    changed: Notify,
}

impl Browser {
    /// Starts the browser. There is none, and it says so, where Chromium is missing and may be, or without `./test
    /// full`.
    pub(crate) async fn start() -> Option<Self> {
        if super::is_for_full_runs() { None } else { Self::start_in_every_run().await }
    }

    /// Starts the browser as [`Self::start`] does, in `./test` too, which opens one page.
    pub(crate) async fn start_in_every_run() -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let folder = profile.path().to_owned();
        Self::launch(Trusted::Everybody, &[], &folder, Some(profile)).await
    }

    /// Starts it as [`Self::start`] does, with a profile that may be there before and stays afterwards.
    pub(crate) async fn start_with(trusted: Trusted<'_>, flags: &[&str], profile: &Path) -> Option<Self> {
        if super::is_for_full_runs() {
            return None;
        }
        Self::launch(trusted, flags, profile, None).await
    }

    async fn launch(
        trusted: Trusted<'_>,
        flags: &[&str],
        folder: &Path,
        profile: Option<tempfile::TempDir>,
    ) -> Option<Self> {
        let trusting = match trusted {
            Trusted::Everybody => "--ignore-certificate-errors".to_owned(),
            Trusted::Key(spki) => format!("--ignore-certificate-errors-spki-list={spki}"),
        };
        let without_http3 = (!flags.contains(&HTTP3)).then_some("--disable-quic");
        let Some(mut child) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|program| {
            Command::new(program)
                .args(FLAGS)
                .args(without_http3)
                .arg(&trusting)
                .args(flags)
                .arg(format!("--user-data-dir={}", folder.display()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .ok()
        }) else {
            super::leave_out("chromium is not installed");
            return None;
        };
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let process = Process { child, _profile: profile };
        let (found, address) = oneshot::channel();
        // The pipe is read to its end, so that the browser never waits for a reader.
        std::thread::spawn(move || {
            let mut found = Some(found);
            let mut seen = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("DevTools listening on ") {
                    let _sent = found.take().map(|found| found.send(Ok(address.to_owned())));
                } else if found.is_some() {
                    writeln!(seen, "{line}").unwrap();
                }
            }
            let _sent = found.take().map(|found| found.send(Err(seen)));
        });
        let address = tokio::time::timeout(START_TIME_MAX, address).await.expect("chromium starts in time").unwrap();
        let address = address.unwrap_or_else(|seen| panic!("chromium did not start:\n{seen}"));
        Some(Self { client: Client::connect(&address).await, process })
    }

    /// The id of the browser's process.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.child.id()
    }

    /// Opens a URL in a new page with an empty cache, and waits until it is loaded and quiet.
    pub(crate) async fn open(&self, url: &str) -> Page {
        self.open_with(url, &[]).await
    }

    /// Opens a URL as [`Self::open`] does, in a page for which some requests are answered by the test.
    pub(crate) async fn open_with(&self, url: &str, stubs: &[Stub]) -> Page {
        let page = self.blank(stubs).await;
        page.go(url).await;
        page
    }

    /// Opens a URL as [`Self::open`] does, with the cookies and the cache of the profile.
    pub(crate) async fn open_in_profile(&self, url: &str) -> Page {
        let page = self.blank_in(None, &[]).await;
        page.go(url).await;
        page
    }

    /// Ends the browser as its user does: what it has not written yet goes into the profile.
    pub(crate) async fn quit(mut self) {
        // The answer may not come any more.
        drop(self.client.try_call(None, "Browser.close", json!({})).await);
        let ended = async {
            while self.process.child.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(START_TIME_MAX, ended).await.expect("chromium ends in time");
    }

    async fn blank(&self, stubs: &[Stub]) -> Page {
        let context = self.client.call(None, "Target.createBrowserContext", json!({})).await;
        self.blank_in(Some(context["browserContextId"].as_str().unwrap().to_owned()), stubs).await
    }

    async fn blank_in(&self, context: Option<String>, stubs: &[Stub]) -> Page {
        let client = self.client.clone();
        let target = match &context {
            Some(context) => {
                json!({ "url": "about:blank", "browserContextId": context, "width": 1280, "height": 900 })
            }
            // A page in the window that the profile has.
            None => json!({ "url": "about:blank" }),
        };
        let target = client.call(None, "Target.createTarget", target).await["targetId"].clone();
        let attach = json!({ "targetId": target, "flatten": true });
        let session = client.call(None, "Target.attachToTarget", attach).await;
        let session = session["sessionId"].as_str().unwrap().to_owned();
        let watched = Arc::new(Watched::default());
        watched.state.lock().unwrap().stubs = stubs.to_vec();
        let page = Page { client, context, session, watched };
        page.watch();
        for domain in ["Page", "Network", "Runtime", "Log"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        if !stubs.is_empty() {
            let patterns: Vec<Value> = stubs.iter().map(|stub| json!({ "urlPattern": stub.url })).collect();
            page.call("Fetch.enable", json!({ "patterns": patterns })).await;
        }
        page
    }
}

impl Page {
    /// Goes to a URL in this page, with its cache as it is, and waits until that is loaded and quiet. The report starts
    /// again.
    pub(crate) async fn go(&self, url: &str) {
        // A page that cannot be reached has its error in the report.
        self.load("Page.navigate", json!({ "url": url })).await;
    }

    /// Loads the page again as a visitor does with the browser's button.
    pub(crate) async fn reload(&self) {
        self.load("Page.reload", json!({})).await;
    }

    /// Loads a page by a command, again where the network of the machine changed meanwhile: that is no fault of the
    /// edge.
    async fn load(&self, method: &str, parameters: Value) {
        for _ in 0..LOADS_MAX {
            self.watched.state.lock().unwrap().start_again();
            self.call(method, parameters.clone()).await;
            self.settle().await;
            let failed = self.watched.state.lock().unwrap().report.failed_requests.clone();
            if !failed.iter().any(|request| request.starts_with(NETWORK_CHANGED)) {
                return;
            }
        }
    }

    /// Loads the page again with all that it shows, as if the browser had never seen any of it.
    pub(crate) async fn reload_without_cache(&self) {
        self.call("Network.clearBrowserCache", json!({})).await;
        self.reload().await;
    }

    /// Waits until the page is loaded and no request was under way for half a second.
    pub(crate) async fn settle(&self) {
        let quiet = async {
            loop {
                let changed = self.watched.changed.notified();
                let is_idle = {
                    let state = self.watched.state.lock().unwrap();
                    state.is_loaded && state.under_way.is_empty()
                };
                if !is_idle {
                    changed.await;
                } else if tokio::time::timeout(QUIET_TIME, changed).await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(LOAD_TIME_MAX, quiet).await.is_err() {
            let state = self.watched.state.lock().unwrap();
            let waiting: Vec<_> = state.under_way.keys().filter_map(|request| state.urls.get(request)).collect();
            panic!("loaded: {}, still under way: {waiting:?}, report: {:?}", state.is_loaded, state.report);
        }
    }

    /// What happened since the page was opened, and what it shows now.
    pub(crate) async fn report(&self) -> PageReport {
        let title = self.evaluate("document.title").await;
        let text = self.evaluate("document.body ? document.body.innerText : ''").await;
        let mut report = self.watched.state.lock().unwrap().report.clone();
        report.title = title.as_str().unwrap_or_default().to_owned();
        report.text = text.as_str().unwrap_or_default().to_owned();
        report
    }

    /// The value of a JavaScript expression in the page; of a promise, what it resolves to.
    ///
    /// # Panics
    /// Where the expression throws or the promise is rejected.
    pub(crate) async fn evaluate(&self, expression: &str) -> Value {
        self.try_evaluate(expression).await.unwrap_or_else(|message| panic!("{expression}: {message}"))
    }

    /// The value of an expression as [`Self::evaluate`] gives it, or what was thrown.
    pub(crate) async fn try_evaluate(&self, expression: &str) -> Result<Value, String> {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.client.try_call(Some(&self.session), "Runtime.evaluate", parameters).await?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(exception_text(details)),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Waits until an expression is true in the page, and fails the test if it is not in time.
    pub(crate) async fn wait_for(&self, expression: &str) {
        let question = format!(
            "new Promise(resolve => {{ \
               const end = Date.now() + {}; \
               const look = () => ({expression}) ? resolve(true) : Date.now() > end ? resolve(false) \
                 : setTimeout(look, 20); look(); }})",
            LOOK_TIME_MAX.as_millis()
        );
        let until = Instant::now() + WAIT_TIME_MAX;
        let mut left_pages = 0;
        let why = loop {
            match self.try_evaluate(&question).await {
                Ok(Value::Bool(true)) => return,
                Ok(_) if Instant::now() < until => {}
                Ok(_) => break "it is not in time".to_owned(),
                // A page that is left while it is asked is asked again, as the next one.
                Err(message) if message.contains(LEFT) => {
                    left_pages += 1;
                    assert!(left_pages < LEFT_PAGES_MAX, "{expression}: the page is left again and again");
                }
                Err(message) => break message,
            }
        };
        let page = self.try_evaluate("document.documentElement.outerHTML.slice(0, 2000)").await;
        let report = self.watched.state.lock().unwrap().report.clone();
        panic!("{expression}: {why}; the page is {page:?}, and its report {report:?}");
    }

    /// Whether a request for that path said that the browser has a dictionary for it.
    pub(crate) fn has_announced(&self, path: &str) -> bool {
        let state = self.watched.state.lock().unwrap();
        state.announcing.iter().filter_map(|request| state.urls.get(request)).any(|url: &String| url.ends_with(path))
    }

    /// Writes a picture of the page (PNG), for a person to look at.
    pub(crate) async fn screenshot(&self, path: &Path) {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let png = base64::decode(answer["data"].as_str().unwrap());
        let mut file = std::fs::File::options().write(true).create(true).truncate(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, &png).unwrap();
    }

    /// Shows the page as to a visitor who prefers `light` or `dark`, on a screen of that width.
    pub(crate) async fn look_as(&self, colour_scheme: &str, width: u32, height: u32) {
        let features = json!([{ "name": "prefers-color-scheme", "value": colour_scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// Closes the page, its cookies and its cache. One that is only dropped stays open until the browser ends.
    pub(crate) async fn close(self) {
        self.client.forget(&self.session);
        match &self.context {
            Some(context) => {
                self.client.call(None, "Target.disposeBrowserContext", json!({ "browserContextId": context })).await
            }
            None => self.call("Page.close", json!({})).await,
        };
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        self.client.call(Some(&self.session), method, parameters).await
    }

    /// Follows the page's events until it is closed.
    fn watch(&self) {
        let mut events = self.client.events(&self.session);
        let (client, session, watched) = (self.client.clone(), self.session.clone(), Arc::clone(&self.watched));
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if event.method == "Fetch.requestPaused" {
                    let answer = watched.state.lock().unwrap().stub_answer(&event.parameters);
                    // A page that has gone on to another address in the meantime does not want it any more.
                    drop(client.try_call(Some(&session), answer.0, answer.1).await);
                } else {
                    watched.state.lock().unwrap().take(&event);
                    watched.changed.notify_waiters();
                }
            }
        });
    }
}
