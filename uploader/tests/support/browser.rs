//! Headless Chromium: opens pages as a visitor would and reports errors.
//!
//! The browser accepts every certificate, or one key, to work with the self-signed mode; correct certificates are a
//! subject of different tests. The browser makes no requests of its own, and has a temporary profile.

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

/// Time limit for the start of the browser: seconds on a busy machine with two cores.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// The browser's answer to a question about a closed page.
const LEFT: &str = "navigated or closed";
/// Most navigations during one question.
const LEFT_PAGES_MAX: usize = 5;
/// Time limit for a loaded and quiet page.
const LOAD_TIME_MAX: Duration = Duration::from_secs(60);
/// Time limit for a condition awaited by a test.
const WAIT_TIME_MAX: Duration = Duration::from_secs(120);
/// Time for one poll of the condition: less than the time limit of a command.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);
/// Reason for failed requests after a change of the machine's network addresses, as by a container network: the browser
/// aborts all requests, even to this machine.
const NETWORK_CHANGED: &str = "net::ERR_NETWORK_CHANGED";
/// Most loads of a page aborted for this reason.
const LOADS_MAX: usize = 5;
/// Time without requests that makes a page quiet.
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

/// Enables HTTP/3 in the browser. With a certificate of a private authority, HTTP/3 works only on origins in
/// `--origin-to-force-quic-on`, without any further protocol.
pub(crate) const HTTP3: &str = "--enable-quic";

/// Certificates accepted by the browser, beside valid certificates.
pub(crate) enum Trusted<'s> {
    /// All certificates. Over connections with certificate errors, the browser lacks some features: no dictionaries.
    Everybody,
    /// The key with this SHA-256, in base64.
    Key(&'s str),
}

/// A running Chromium, ended on drop.
pub(crate) struct Browser {
    client: Client,
    process: Process,
}

/// The process and its profile. The process ends first, as the process writes into the profile.
struct Process {
    child: Child,
    _profile: Option<tempfile::TempDir>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already, and a failure here would hide the test's own message.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An open page, with separate cookies and cache.
pub(crate) struct Page {
    client: Client,
    /// `None` for the context of the profile.
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
    /// Starts the browser. Returns `None` with a message if Chromium is missing and optional, or without `./test full`.
    pub(crate) async fn start() -> Option<Self> {
        if super::is_for_full_runs() { None } else { Self::start_in_every_run().await }
    }

    /// Starts the browser as [`Self::start`] does, in `./test` too, which opens one page.
    pub(crate) async fn start_in_every_run() -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let folder = profile.path().to_owned();
        Self::launch(Trusted::Everybody, &[], &folder, Some(profile)).await
    }

    /// Starts the browser as [`Self::start`] does, with a persistent profile.
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
        // The pipe is read to its end, so that the browser never blocks on writing.
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

    /// Opens a URL in a new page with an empty cache, and waits until the page is loaded and quiet.
    pub(crate) async fn open(&self, url: &str) -> Page {
        self.open_with(url, &[]).await
    }

    /// Opens a URL as [`Self::open`] does, in a page with some requests answered by the test.
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

    /// Ends the browser as its user does: unsaved state is written to the profile.
    pub(crate) async fn quit(mut self) {
        // The answer may never come.
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
            // A page in the window of the profile.
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
    /// Navigates this page to a URL, with its cache, and waits until the page is loaded and quiet. The report starts
    /// again.
    pub(crate) async fn go(&self, url: &str) {
        // The error of an unreachable page is in the report.
        self.load("Page.navigate", json!({ "url": url })).await;
    }

    /// Loads the page again as a visitor does with the browser's button.
    pub(crate) async fn reload(&self) {
        self.load("Page.reload", json!({})).await;
    }

    /// Loads a page by a command, and again after a change of the machine's network, no fault of the edge.
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

    /// Reloads the page with all resources, as if the browser had an empty cache.
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

    /// Returns the events since the page was opened, and its current content.
    pub(crate) async fn report(&self) -> PageReport {
        let title = self.evaluate("document.title").await;
        let text = self.evaluate("document.body ? document.body.innerText : ''").await;
        let mut report = self.watched.state.lock().unwrap().report.clone();
        report.title = title.as_str().unwrap_or_default().to_owned();
        report.text = text.as_str().unwrap_or_default().to_owned();
        report
    }

    /// Returns the value of a JavaScript expression in the page; of a promise, the resolved value.
    ///
    /// # Panics
    /// Panics if the expression throws or the promise is rejected.
    pub(crate) async fn evaluate(&self, expression: &str) -> Value {
        self.try_evaluate(expression).await.unwrap_or_else(|message| panic!("{expression}: {message}"))
    }

    /// Returns the value of an expression as [`Self::evaluate`] does, or the thrown error.
    pub(crate) async fn try_evaluate(&self, expression: &str) -> Result<Value, String> {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.client.try_call(Some(&self.session), "Runtime.evaluate", parameters).await?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(exception_text(details)),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Waits until an expression is true in the page, and fails the test after the time limit.
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
                // After a navigation during the question, the next page is asked.
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

    /// Returns true if a request for the path announced a dictionary.
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

    /// Shows the page as to a visitor who prefers `light` or `dark`, on a screen of the given width.
    pub(crate) async fn look_as(&self, colour_scheme: &str, width: u32, height: u32) {
        let features = json!([{ "name": "prefers-color-scheme", "value": colour_scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// Closes the page, its cookies and its cache. A dropped page stays open until the browser ends.
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

    /// Follows the page's events until the page is closed.
    fn watch(&self) {
        let mut events = self.client.events(&self.session);
        let (client, session, watched) = (self.client.clone(), self.session.clone(), Arc::clone(&self.watched));
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if event.method == "Fetch.requestPaused" {
                    let answer = watched.state.lock().unwrap().stub_answer(&event.parameters);
                    // A page that has navigated in the meantime needs no answer.
                    drop(client.try_call(Some(&session), answer.0, answer.1).await);
                } else {
                    watched.state.lock().unwrap().take(&event);
                    watched.changed.notify_waiters();
                }
            }
        });
    }
}
