//! The console: its files for logged-in users, and its installation and removal.

use std::sync::Arc;

use devanture_config::problem::{Code, Problem};
use http::header::LOCATION;
use http::{HeaderValue, Method, Request, StatusCode, Uri};

use super::body::RequestBody;
use super::bundle::ARCHIVES;
use super::call::{Answer, Call};
use super::safekeeping::must_be_local;
use super::state::Admin;
use super::{answer, body, login_page};
use crate::publish::CONSOLE_PACKAGE_BYTES_MAX;
use devanture_serve::handler;

/// Folder of the console.
const FOLDER: &str = "/console";
/// Start page.
const START: &str = "/console/";

/// Returns true if the console answers the request, rather than an API operation.
pub(super) fn is_its(method: &Method, uri: &Uri) -> bool {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    login_page::is_of_console(uri) && (is_read || uri.path() != "/")
}

impl Admin {
    /// Answers from the installed console.
    pub(super) fn console(&self, request: &Request<RequestBody>) -> Answer {
        let Some(current) = self.publisher.console().current() else {
            return Err(Problem::new(Code::NotFound, "This edge has no console.")
                .hint("`devanture-edge console install FILE` installs one; /v1/openapi.yaml describes the API")
                .into());
        };
        let path = request.uri().path();
        let Some(below) = path.strip_prefix(FOLDER).filter(|below| !below.is_empty()) else {
            let mut response = answer::no_content();
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(LOCATION, HeaderValue::from_static(START));
            return Ok(response);
        };
        let path_bytes_max = usize::try_from(self.publisher.limits().path_bytes_max).unwrap_or(usize::MAX);
        let mut response = handler::console(request, &current, below, path_bytes_max).map(answer::full);
        if let Some(location) = response.headers_mut().get_mut(LOCATION) {
            // Paths are resolved as if the folder were the root.
            let below = HeaderValue::from_bytes(&[FOLDER.as_bytes(), location.as_bytes()].concat());
            *location = below.unwrap_or(HeaderValue::from_static(START));
        }
        Ok(response)
    }

    pub(super) async fn console_status(&self, call: Call) -> Answer {
        drop(call);
        Ok(answer::json(StatusCode::OK, &self.publisher.console_status().await?))
    }

    pub(super) async fn install_console(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        must_be_local(&actor)?;
        let found = body::media_type(request.headers());
        if !found.as_deref().is_some_and(|found| ARCHIVES.contains(&found)) {
            body::check_media_type(request.headers(), "application/gzip")?;
        }
        let package = body::whole(request.into_body(), CONSOLE_PACKAGE_BYTES_MAX).await?;
        let publisher = Arc::clone(&self.publisher);
        let installed = async move { publisher.install_console(&actor, package).await };
        Ok(answer::json(StatusCode::OK, &self.publisher.to_its_end(installed).await?))
    }

    pub(super) async fn remove_console(&self, call: Call) -> Answer {
        must_be_local(&call.actor)?;
        Ok(answer::json(StatusCode::OK, &self.publisher.remove_console(&call.actor).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_has_its_folder_and_the_root_and_nothing_of_the_api() {
        for (path, expected) in [
            ("/", true),
            ("/console", true),
            ("/console/", true),
            ("/console/apps/shop", true),
            ("/consoles", false),
            ("/v1/console", false),
            ("/metrics", false),
        ] {
            assert_eq!(is_its(&Method::GET, &path.parse().unwrap()), expected, "{path}");
        }
        let is_posted = |path: &str| is_its(&Method::POST, &path.parse().unwrap());
        assert!(!is_posted("/") && is_posted("/console/"));
    }
}
