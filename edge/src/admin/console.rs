//! The console: its files for those who are logged in, and the operations that install and remove it.

use devanture_config::Hostname;
use devanture_config::problem::{Code, Problem};
use http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, LOCATION};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, StatusCode};

use super::body::RequestBody;
use super::bundle::ARCHIVES;
use super::call::{Answer, Call};
use super::safekeeping::must_be_local;
use super::state::Admin;
use super::{Via, answer, body, operations};
use crate::handler;
use crate::ledger::Error;
use crate::publish::CONSOLE_PACKAGE_BYTES_MAX;

/// The folder of the console.
const FOLDER: &str = "/console";
/// The page that it begins with.
const START: &str = "/console/";

/// Whether the console answers, and not an operation of the API.
pub(super) fn is_its(method: &Method, path: &str) -> bool {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    path == FOLDER || path.starts_with(START) || (path == "/" && is_read)
}

impl Admin {
    /// Answers from the console that is installed.
    pub(super) async fn console(&self, request: Request<RequestBody>, via: Via) -> Answer {
        self.check_console_host(&request)?;
        self.actor(request.headers().get(AUTHORIZATION), via).await?;
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
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            return Ok(response);
        };
        let path_bytes_max = usize::try_from(self.publisher.limits().path_bytes_max).unwrap_or(usize::MAX);
        Ok(handler::console(&request, &current, below, path_bytes_max).map(answer::full))
    }

    /// Checks that the name by which this listener was reached is none that an app has, or could have: cookies are sent
    /// to all ports of a name, and the app would get those of who logs in there.
    pub(super) fn check_console_host<B>(&self, request: &Request<B>) -> Result<(), Error> {
        let Some(host) = host(request) else { return Err(operations::no_such_address()) };
        let live = &self.publisher.ledger().live;
        if !live.domains().may_be_an_apps(&host) && !live.serves(&host) {
            return Ok(());
        }
        let detail = format!("{host} is a name of an app, or may become one: the console is not there.");
        let hint = "reach this listener by a name that is not below `domain` or `preview_domain`, or by its address";
        Err(Problem::new(Code::NotFound, detail).hint(hint).into())
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
        let publisher = std::sync::Arc::clone(&self.publisher);
        let installed = async move { publisher.install_console(&actor, package).await };
        Ok(answer::json(StatusCode::OK, &self.publisher.to_its_end(installed).await?))
    }

    pub(super) async fn remove_console(&self, call: Call) -> Answer {
        must_be_local(&call.actor)?;
        Ok(answer::json(StatusCode::OK, &self.publisher.remove_console(&call.actor).await?))
    }
}

/// The name that a request is for, without its port, in lower case.
fn host<B>(request: &Request<B>) -> Option<String> {
    let of_field = || request.headers().get(HOST)?.to_str().ok()?.parse::<Authority>().ok();
    let authority = request.uri().authority().cloned().or_else(of_field)?;
    let host = authority.host();
    // An address, or a name; anything else leads nowhere.
    let is_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    if is_address { Some(host.to_owned()) } else { host.parse::<Hostname>().ok().map(|name| name.as_str().to_owned()) }
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
            assert_eq!(is_its(&Method::GET, path), expected, "{path}");
        }
        assert!(!is_its(&Method::POST, "/") && is_its(&Method::POST, "/console/"));
    }

    #[test]
    fn the_host_of_a_request_is_a_name_or_an_address_without_its_port() {
        let of = |uri: &str, field: &str| host(&Request::get(uri).header(HOST, field).body(()).unwrap());
        assert_eq!(of("/", "LOCALHOST:8444").as_deref(), Some("localhost"));
        assert_eq!(of("/", "[::1]:8444").as_deref(), Some("[::1]"));
        assert_eq!(of("https://edge.example.org./", "x").as_deref(), Some("edge.example.org"));
        assert_eq!(of("/", "a b"), None);
        assert_eq!(of("/", "-"), None);
    }
}
