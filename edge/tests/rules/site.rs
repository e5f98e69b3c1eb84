//! Site with rules, and rows of requests with expected responses.

use devanture_config::api::{BeginDeploy, DeployOptions, DeployReport};
use devanture_config::problem::Problem;
use devanture_config::site_toml::SiteFile;
use http::{Method, StatusCode};

use crate::support::{Got, RunningEdge, edge, got, manifest};

/// Site before the push.
#[derive(Default)]
pub(crate) struct Site {
    files: Vec<(String, Vec<u8>)>,
    toml: String,
    options: DeployOptions,
}

/// Starts the description of a site of pages; the content of each page is its path.
pub(crate) fn site(paths: &[&str]) -> Site {
    let files = paths.iter().map(|path| ((*path).to_owned(), path.as_bytes().to_vec())).collect();
    let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
    Site { files, options, ..Site::default() }
}

impl Site {
    /// Adds a file.
    pub(crate) fn with_file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.as_bytes().to_vec()));
        self
    }

    /// Adds `_redirects`.
    pub(crate) fn with_redirects(self, lines: &[&str]) -> Self {
        self.with_file("_redirects", &(lines.join("\n") + "\n"))
    }

    /// Adds `_headers`.
    pub(crate) fn with_headers(self, lines: &[&str]) -> Self {
        self.with_file("_headers", &(lines.join("\n") + "\n"))
    }

    /// Adds lines to `devanture.toml`.
    pub(crate) fn with_toml(mut self, lines: &str) -> Self {
        self.toml.push_str(lines);
        self.toml.push('\n');
        self
    }

    /// Refuses warnings.
    pub(crate) fn strictly(mut self) -> Self {
        self.options.allow_warnings = false;
        self
    }

    /// Pushes the site to `prod` of the app `shop`.
    pub(crate) async fn try_push(&self, edge: &RunningEdge) -> Result<DeployReport, Box<Problem>> {
        self.try_push_to(edge, "prod").await
    }

    /// Pushes the site to an environment of the app `shop`.
    pub(crate) async fn try_push_to(&self, edge: &RunningEdge, place: &str) -> Result<DeployReport, Box<Problem>> {
        let files: Vec<(&str, &[u8])> = self.files.iter().map(|(p, b)| (p.as_str(), b.as_slice())).collect();
        let file = SiteFile::parse("devanture.toml", &self.toml).unwrap_or_else(|error| panic!("{error}"));
        let mut manifest = manifest(&files);
        manifest.base = file.base;
        manifest.env = file.env;
        let begin = BeginDeploy { manifest, source: Default::default(), options: self.options.clone() };
        edge.try_push("shop", place, begin, &files).await
    }

    /// Starts an edge that serves the site.
    pub(crate) async fn start(self) -> RunningEdge {
        let edge = edge().with_toml("[compress]\nbackground = false").start().await;
        self.try_push(&edge).await.unwrap_or_else(|problem| panic!("{problem:#?}"));
        edge
    }
}

/// Requests every row, and reports all failures together.
///
/// A request is `PATH` or `METHOD PATH`, then fields as `name: value`. A response is the status, then the `Location` of
/// a redirect, the body of any other response, or `name: value` of a field, where an empty value means an absent field.
/// Parts are separated by ` | `.
pub(crate) async fn holds(edge: &RunningEdge, rows: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (request, expected) in rows {
        let got = ask(edge, request).await;
        let found = differences(&got, expected);
        if !found.is_empty() {
            wrong.push(format!("{request}\n   wanted {expected}\n   but {}", found.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Sends one request: `PATH` or `METHOD PATH`, then fields.
pub(crate) async fn ask(edge: &RunningEdge, request: &str) -> Got {
    let mut parts = request.split(" | ");
    let line = parts.next().unwrap();
    let (method, path) = line.split_once(' ').unwrap_or(("GET", line));
    let mut request = edge.visit(method.parse::<Method>().unwrap(), "shop.localhost", path);
    for field in parts {
        let (name, value) = field.split_once(": ").unwrap_or_else(|| panic!("`{field}` is no field"));
        request = request.header(name, value);
    }
    got(request).await
}

fn differences(got: &Got, expected: &str) -> Vec<String> {
    let mut parts = expected.split(" | ");
    let status: u16 = parts.next().unwrap().parse().unwrap();
    let mut found = Vec::new();
    if got.status.as_u16() != status {
        found.push(format!("status {} {}{}", got.status.as_u16(), got.header("location"), got.text()));
    }
    for part in parts {
        let (is, wanted) =
            match part.split_once(':').filter(|(name, _)| !name.contains('/') && !part.starts_with("http")) {
                Some((name, wanted)) => (
                    got.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>().join(" + "),
                    wanted.trim(),
                ),
                None if got.status.is_redirection() && got.status != StatusCode::NOT_MODIFIED => {
                    (got.header("location").to_owned(), part)
                }
                None => (got.text(), part),
            };
        if is != wanted {
            found.push(format!("`{is}` instead of `{wanted}`"));
        }
    }
    found
}
