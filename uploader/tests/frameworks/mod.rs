//! Typical backends in Django and FastAPI, as real processes behind the edge, on the front's own origin.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test that cannot go on should stop where it is"
)]

mod away;
mod django_page;
mod forms;
mod front;
mod http;
mod python_page;
mod servers;
mod tokens;

use crate::support::edge::Edge;
use crate::support::project;

/// The host of the shop, without the edge's port.
const HOST: &str = "shop.localhost";

/// Pushes the front with a route for each path to a backend.
fn push(edge: &Edge, routes: &[(&str, std::net::SocketAddr)]) {
    let mut settings = "not_found = \"single-page-application\"\n".to_owned();
    for (path, to) in routes {
        settings.push_str(&format!("[[routes]]\npath = {path:?}\nto = \"http://{to}\"\n"));
    }
    let project = project::with_site("shop", &servers::sources().join("front"), &settings);
    let ran = edge.command(project.path(), "shop", &["push", "--json"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
}
