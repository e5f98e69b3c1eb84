//! Recorded events of a page: requests, answers, errors, and stubs.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::super::cdp::Event;
use super::base64;

/// An answer in place of the network's, for resources on a foreign host.
#[derive(Clone)]
pub(crate) struct Stub {
    /// The matching requests: a URL in which `*` stands for any text.
    pub(crate) url: &'static str,
    /// The `Content-Type` of the answer.
    pub(crate) content_type: &'static str,
    /// The body of the answer, whose status is 200.
    pub(crate) body: String,
}

/// Events of a page since opening.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageReport {
    /// `console.error`, uncaught exceptions, and errors logged by the browser itself.
    pub(crate) console_errors: Vec<String>,
    /// Requests without an answer, or with a status of 400 and above, each as `status-or-reason URL`.
    pub(crate) failed_requests: Vec<String>,
    /// Every answer: its URL and status, redirects included, in the order of arrival.
    pub(crate) responses: Vec<(String, u16)>,
    /// The protocol of each answer, such as `h2` or `http/1.1`.
    pub(crate) protocols: Vec<String>,
    /// The page's title.
    pub(crate) title: String,
    /// The visible text.
    pub(crate) text: String,
}

/// Recorded events so far.
#[derive(Default)]
pub(super) struct State {
    pub(super) is_loaded: bool,
    /// Running requests, each with the load of its page.
    pub(super) under_way: HashMap<String, String>,
    pub(super) urls: HashMap<String, String>,
    /// Requests that announced a dictionary.
    pub(super) announcing: HashSet<String>,
    pub(super) stubs: Vec<Stub>,
    pub(super) report: PageReport,
}

impl State {
    pub(super) fn start_again(&mut self) {
        let stubs = std::mem::take(&mut self.stubs);
        *self = Self { stubs, ..Self::default() };
    }

    pub(super) fn take(&mut self, event: &Event) {
        let parameters = &event.parameters;
        let request = parameters["requestId"].as_str().unwrap_or_default().to_owned();
        match event.method.as_str() {
            "Page.loadEventFired" => self.is_loaded = true,
            "Network.requestWillBeSent" => {
                if parameters.get("redirectResponse").is_some() {
                    self.answered(&parameters["redirectResponse"]);
                }
                self.urls.insert(request.clone(), text(&parameters["request"]["url"]));
                // A stream of events runs for the life of the page.
                if parameters["type"] != "EventSource" {
                    self.under_way.insert(request, text(&parameters["loaderId"]));
                }
            }
            // The end of a request of the previous page, such as for its icon, may never be reported.
            "Page.frameNavigated" if parameters["frame"].get("parentId").is_none() => {
                let load = text(&parameters["frame"]["loaderId"]);
                self.under_way.retain(|_, of| *of == load);
            }
            "Network.requestWillBeSentExtraInfo" => {
                let name_of = |name: &String| name.eq_ignore_ascii_case("available-dictionary");
                if parameters["headers"].as_object().is_some_and(|headers| headers.keys().any(name_of)) {
                    self.announcing.insert(request);
                }
            }
            "Network.responseReceived" => self.answered(&parameters["response"]),
            "Network.loadingFinished" => {
                self.under_way.remove(&request);
            }
            "Network.loadingFailed" => {
                self.under_way.remove(&request);
                // Requests cancelled by the page itself: a navigation, or an aborted fetch.
                if parameters["canceled"] != json!(true) {
                    let url = self.urls.get(&request).cloned().unwrap_or_default();
                    self.report.failed_requests.push(format!("{} {url}", text(&parameters["errorText"])));
                }
            }
            "Runtime.consoleAPICalled" if parameters["type"] == "error" || parameters["type"] == "assert" => {
                let words: Vec<String> = parameters["args"].as_array().unwrap().iter().map(argument_text).collect();
                self.report.console_errors.push(words.join(" "));
            }
            "Runtime.exceptionThrown" => {
                self.report.console_errors.push(exception_text(&parameters["exceptionDetails"]));
            }
            "Log.entryAdded" if parameters["entry"]["level"] == "error" => {
                let entry = &parameters["entry"];
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

    /// Returns the command that answers a paused request with its stub.
    pub(super) fn stub_answer(&self, paused: &Value) -> (&'static str, Value) {
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
        let body = base64::encode(stub.body.as_bytes());
        let answer = json!({ "requestId": request, "responseCode": 200, "responseHeaders": headers, "body": body });
        ("Fetch.fulfillRequest", answer)
    }
}

/// Returns true if a URL matches a pattern in which `*` stands for any text.
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

pub(super) fn exception_text(details: &Value) -> String {
    let exception = &details["exception"];
    let what = if exception.is_object() { argument_text(exception) } else { String::new() };
    format!("{} {what} ({}:{})", text(&details["text"]), text(&details["url"]), details["lineNumber"])
}
