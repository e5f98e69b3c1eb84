//! The real sites pushed by the tests, and the packages of backends, fetched by `tools/test-inputs` into the target
//! folder.
//!
//! Each function returns the folder, or `None` with a message about the skipped test; on a CI machine a missing folder
//! fails.

use std::path::{Path, PathBuf};

use super::browser::Stub;

/// The npm package `swagger-ui-dist` of a release: 5.29.0 or 5.29.1, 32 files, 12 MB.
#[track_caller]
pub(crate) fn swagger(release: &str) -> Option<PathBuf> {
    fetched(&format!("swagger-ui-dist-{release}"))
}

/// Requests of the page of `swagger-ui-dist` to its authors' hosts: the shown API, and the badge of a validator.
///
/// With the API answered, the page shows the title `Jungle API` and the path `/plants`.
pub(crate) fn swagger_stubs() -> Vec<Stub> {
    let api = r#"{"openapi": "3.0.3", "info": {"title": "Jungle API", "version": "1"}, "paths": {"/plants":
        {"get": {"summary": "All plants", "responses": {"200": {"description": "A list"}}}}}}"#;
    let badge = r#"<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>"#;
    let stub = |url, content_type, body: &str| Stub { url, content_type, body: body.to_owned() };
    vec![
        stub("https://petstore.swagger.io/*", "application/json", api),
        stub("https://validator.swagger.io/*", "image/svg+xml", badge),
    ]
}

/// Every static file of the `jupyterlab` wheel of a release: 4.4.8 or 4.4.9, 581 files, 34 MB, half of them twice.
///
/// `jupyterlab/static/index.html` is a template filled in by the Jupyter server, simulated by [`super::jupyter`].
#[track_caller]
pub(crate) fn jupyterlab(release: &str) -> Option<PathBuf> {
    fetched(&format!("jupyterlab-{release}"))
}

/// The server's files in the wheel, for [`super::jupyter`]: `jupyterlab/schemas` and `jupyterlab/themes`.
#[track_caller]
pub(super) fn jupyterlab_server(release: &str) -> Option<PathBuf> {
    fetched(&format!("jupyterlab-{release}-server"))
}

/// The small site of `tools/vite-site` built by Vite, in variant `a` or `b`: 11 files, ten of them fingerprinted.
///
/// Once shown, the page sets `data-ready` of the root element to its variant, and has `visit("list")`, a promise of the
/// variant of the code that made the page: the code of `home`, `list` and `about` is loaded on a visit.
#[track_caller]
pub(crate) fn vite(variant: &str) -> Option<PathBuf> {
    fetched(&format!("vite-{variant}"))
}

/// The packages of `uploader/tests/frameworks/requirements.txt`, for `PYTHONPATH`.
#[track_caller]
pub(crate) fn frameworks() -> Option<PathBuf> {
    if super::is_for_full_runs() {
        return None;
    }
    fetched("frameworks")
}

/// The site of `tools/sites.d/NAME` built by its generator, in release `a` or `b`.
///
/// Two sites are in every run of the tests, the rest with `FULL=1` or if already built.
#[track_caller]
pub(crate) fn site(name: &str, release: &str) -> Option<PathBuf> {
    let belongs = matches!(name, "astro" | "vite-react") || std::env::var("FULL").is_ok_and(|full| full == "1");
    let folder = inputs_dir().join(format!("site-{name}")).join(release);
    if folder.is_dir() {
        return Some(folder);
    }
    let what = format!("site-{name} is not in {}: run tools/sites {name}", inputs_dir().display());
    if belongs {
        super::leave_out(&what);
    } else {
        eprintln!("left out: {what}");
    }
    None
}

fn inputs_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent").join("test-inputs")
}

#[track_caller]
fn fetched(name: &str) -> Option<PathBuf> {
    let folder = inputs_dir().join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    super::leave_out(&format!("{name} is not in {}: run tools/test-inputs", inputs_dir().display()));
    None
}
