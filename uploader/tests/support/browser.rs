//! Headless Chromium: opens pages as a visitor would and reports what went wrong in them.
//!
//! The browser takes every certificate, so that the self-signed mode can be looked at; that a certificate is right is
//! for other tests. It talks to nobody by itself, and has a profile of its own that goes with it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};

use super::cdp::{Client, Event};

/// How long the browser may take to start: on a busy machine with two cores it is seconds.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// What the browser says of a question to a page that has been left.
const LEFT: &str = "navigated or closed";
/// Most pages that are left while one question is asked.
const LEFT_PAGES_MAX: usize = 5;
/// How long a page may take until it is loaded and quiet.
const LOAD_TIME_MAX: Duration = Duration::from_secs(60);
/// A page is quiet when no request was under way for so long.
const QUIET_TIME: Duration = Duration::from_millis(500);

const FLAGS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--ignore-certificate-errors",
    "--no-default-browser-check",
    "--no-first-run",
    "--remote-debugging-port=0",
];

/// A running Chromium, ended when it is dropped.
pub(crate) struct Browser {
    client: Client,
    process: Process,
}

/// The process and its profile. The process is ended first, as it writes into the profile.
struct Process {
    child: Child,
    _profile: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and a test that fails here would hide its own message.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An answer that a page gets in place of the network's, for what a site loads from a foreign host.
#[derive(Clone)]
pub(crate) struct Stub {
    /// Which requests: a URL in which `*` stands for anything.
    pub(crate) url: &'static str,
    /// The `Content-Type` of the answer.
    pub(crate) content_type: &'static str,
    /// The body of the answer, whose status is 200.
    pub(crate) body: String,
}

/// What happened in a page since it was opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageReport {
    /// `console.error`, exceptions that nobody caught, and what the browser itself has logged as an error.
    pub(crate) console_errors: Vec<String>,
    /// Requests without an answer, or with a status of 400 and above, each as `status-or-reason URL`.
    pub(crate) failed_requests: Vec<String>,
    /// Every answer: its URL and status, redirects included, in the order of arrival.
    pub(crate) responses: Vec<(String, u16)>,
    /// The protocol of each of these, such as `h2` or `http/1.1`.
    pub(crate) protocols: Vec<String>,
    /// The page's title.
    pub(crate) title: String,
    /// The text that a visitor sees.
    pub(crate) text: String,
}

/// An open page, with cookies and a cache of its own.
pub(crate) struct Page {
    client: Client,
    context: String,
    session: String,
    watched: Arc<Watched>,
}

#[derive(Default)]
struct Watched {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    is_loaded: bool,
    under_way: HashSet<String>,
    urls: HashMap<String, String>,
    stubs: Vec<Stub>,
    report: PageReport,
}

impl Browser {
    /// Starts the browser; none, having said so, where there is no Chromium and the tests may go without one.
    pub(crate) async fn start() -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let Some(mut child) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|program| {
            Command::new(program)
                .args(FLAGS)
                .arg(format!("--user-data-dir={}", profile.path().display()))
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

    async fn blank(&self, stubs: &[Stub]) -> Page {
        let client = self.client.clone();
        let context = client.call(None, "Target.createBrowserContext", json!({})).await;
        let context = context["browserContextId"].as_str().unwrap().to_owned();
        let target = json!({ "url": "about:blank", "browserContextId": context, "width": 1280, "height": 900 });
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
    /// anew.
    pub(crate) async fn go(&self, url: &str) {
        self.watched.state.lock().unwrap().start_anew();
        // A page that cannot be reached has its error in the report.
        self.call("Page.navigate", json!({ "url": url })).await;
        self.settle().await;
    }

    /// Loads the page again as a visitor does with the browser's button.
    pub(crate) async fn reload(&self) {
        self.watched.state.lock().unwrap().start_anew();
        self.call("Page.reload", json!({})).await;
        self.settle().await;
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
            let waiting: Vec<_> = state.under_way.iter().filter_map(|request| state.urls.get(request)).collect();
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
        let expression = format!(
            "new Promise((resolve, reject) => {{ \
               const end = Date.now() + {}; \
               const look = () => ({expression}) ? resolve(true) : Date.now() > end ? reject('not in time') \
                 : setTimeout(look, 20); look(); }})",
            LOAD_TIME_MAX.as_millis() / 2
        );
        // A page that is left while it is asked is asked again, as the next one.
        for _ in 0..LEFT_PAGES_MAX {
            match self.try_evaluate(&expression).await {
                Err(message) if message.contains(LEFT) => {}
                told => {
                    told.unwrap_or_else(|message| panic!("{expression}: {message}"));
                    return;
                }
            }
        }
        panic!("{expression}: the page is left again and again");
    }

    /// Writes a picture of the page (PNG), for a person to look at.
    pub(crate) async fn screenshot(&self, path: &Path) {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let png = from_base64(answer["data"].as_str().unwrap());
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
        self.client.call(None, "Target.disposeBrowserContext", json!({ "browserContextId": self.context })).await;
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

impl State {
    fn start_anew(&mut self) {
        let stubs = std::mem::take(&mut self.stubs);
        *self = Self { stubs, ..Self::default() };
    }

    fn take(&mut self, event: &Event) {
        let said = &event.parameters;
        let request = said["requestId"].as_str().unwrap_or_default().to_owned();
        match event.method.as_str() {
            "Page.loadEventFired" => self.is_loaded = true,
            "Network.requestWillBeSent" => {
                if said.get("redirectResponse").is_some() {
                    self.answered(&said["redirectResponse"]);
                }
                self.urls.insert(request.clone(), text(&said["request"]["url"]));
                // A stream of events is under way for as long as its page is there.
                if said["type"] != "EventSource" {
                    self.under_way.insert(request);
                }
            }
            "Network.responseReceived" => self.answered(&said["response"]),
            "Network.loadingFinished" => {
                self.under_way.remove(&request);
            }
            "Network.loadingFailed" => {
                self.under_way.remove(&request);
                // The page itself gave these up: it went on to another address or aborted its own fetch.
                if said["canceled"] != json!(true) {
                    let url = self.urls.get(&request).cloned().unwrap_or_default();
                    self.report.failed_requests.push(format!("{} {url}", text(&said["errorText"])));
                }
            }
            "Runtime.consoleAPICalled" if said["type"] == "error" || said["type"] == "assert" => {
                let words: Vec<String> = said["args"].as_array().unwrap().iter().map(argument_text).collect();
                self.report.console_errors.push(words.join(" "));
            }
            "Runtime.exceptionThrown" => {
                self.report.console_errors.push(exception_text(&said["exceptionDetails"]));
            }
            "Log.entryAdded" if said["entry"]["level"] == "error" => {
                let entry = &said["entry"];
                self.report.console_errors.push(format!("{} ({})", text(&entry["text"]), text(&entry["url"])));
            }
            _ => {}
        }
    }

    fn answered(&mut self, response: &Value) {
        let url = text(&response["url"]);
        let status = response["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
        if status >= 400 {
            self.report.failed_requests.push(format!("{status} {url}"));
        }
        self.report.responses.push((url, status));
        self.report.protocols.push(text(&response["protocol"]));
    }

    /// The command that answers a paused request by its stub.
    fn stub_answer(&self, paused: &Value) -> (&'static str, Value) {
        let request = &paused["requestId"];
        let url = text(&paused["request"]["url"]);
        let Some(stub) = self.stubs.iter().find(|stub| matches(stub.url, &url)) else {
            return ("Fetch.continueRequest", json!({ "requestId": request }));
        };
        let headers = json!([
            { "name": "Content-Type", "value": stub.content_type },
            { "name": "Access-Control-Allow-Origin", "value": "*" },
            { "name": "Access-Control-Allow-Headers", "value": "*" },
        ]);
        let body = to_base64(stub.body.as_bytes());
        let answer = json!({ "requestId": request, "responseCode": 200, "responseHeaders": headers, "body": body });
        ("Fetch.fulfillRequest", answer)
    }
}

/// Whether a URL has the form of a pattern in which `*` stands for anything.
fn matches(pattern: &str, url: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == url,
        Some((start, rest)) => url
            .strip_prefix(start)
            .is_some_and(|end| (0..=end.len()).any(|at| end.is_char_boundary(at) && matches(rest, &end[at..]))),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn argument_text(argument: &Value) -> String {
    match (&argument["value"], &argument["description"]) {
        (Value::String(text), _) | (Value::Null, Value::String(text)) => text.clone(),
        (value, _) => value.to_string(),
    }
}

fn exception_text(details: &Value) -> String {
    let exception = &details["exception"];
    let what = if exception.is_object() { argument_text(exception) } else { String::new() };
    format!("{} {what} ({}:{})", text(&details["text"]), text(&details["url"]), details["lineNumber"])
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0_usize, |number, at| (number << 8) | usize::from(*group.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let digit = if at <= group.len() { BASE64[(number >> (18 - 6 * at)) & 63] } else { b'=' };
            text.push(char::from(digit));
        }
    }
    text
}

fn from_base64(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|byte| BASE64.iter().position(|digit| *digit == byte))
        .map(|at| u8::try_from(at).unwrap())
        .collect();
    let mut bytes = Vec::with_capacity(digits.len());
    for group in digits.chunks(4) {
        let number = (0..4).fold(0_u32, |number, at| (number << 6) | u32::from(*group.get(at).unwrap_or(&0)));
        bytes.extend(&number.to_be_bytes()[1..group.len()]);
    }
    bytes
}
