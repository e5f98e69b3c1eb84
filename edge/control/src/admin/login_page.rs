//! Login page, shown to browsers without a session at the console's addresses; refusal page, shown at hostnames without
//! logins.
//!
//! Both pages are the same for everyone. After a login, the browser stays at the address of the login page.

use http::header::{ACCEPT, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::answer::Body;
use super::body::RequestBody;
use super::call::Answer;
use super::pages::{LOGIN, Page};
use crate::ledger::Error;

/// Folder of the console, without the final slash.
const CONSOLE: &str = "/console";

/// Returns true for paths of the console.
pub(super) fn is_of_console(uri: &Uri) -> bool {
    let rest = uri.path().strip_prefix(CONSOLE);
    uri.path() == "/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns true if a browser opens a page of the console.
pub(super) fn is_wanted(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let accepts_html = || {
        let mut ranges = accepts.flat_map(|accept| accept.split(','));
        ranges.any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html"))
    };
    matches!(*method, Method::GET | Method::HEAD) && is_of_console(uri) && accepts_html()
}

/// Returns the page with 401, the status of every response to a client without a credential.
pub(super) fn page() -> Response<Body> {
    varying(LOGIN.answer(StatusCode::UNAUTHORIZED))
}

/// Shows the refusal of a hostname as a page, to a browser that opens the console.
///
/// # Errors
/// The refusal, for every other client.
pub(super) fn refused(refusal: Error, status: StatusCode, request: &Request<RequestBody>) -> Answer {
    if !is_wanted(request.method(), request.uri(), request.headers()) {
        return Err(refusal);
    }
    let Error(problem) = refusal;
    let hint = problem.hint.map(|hint| format!("To log in, {hint}."));
    let sentences: Vec<String> = [Some(problem.detail), hint].into_iter().flatten().collect();
    Ok(varying(Page::of_text("Not at this hostname", &sentences).answer(status)))
}

/// Adds `Vary`.
fn varying(mut response: Response<Body>) -> Response<Body> {
    let is_refusal = response.status() == StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Cookie"));
    if is_refusal {
        // RFC 9110 §11.6.1.
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_it_at_the_addresses_of_the_console_and_nobody_elsewhere() {
        let wanted = |method: Method, path: &str, accept: &str| {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            is_wanted(&method, &path.parse().unwrap(), &headers)
        };
        let html = "text/html,application/xhtml+xml,*/*;q=0.8";
        for path in ["/", "/console", "/console/", "/console/apps/shop?x=//evil.example"] {
            assert!(wanted(Method::GET, path, html), "{path}");
            assert!(wanted(Method::HEAD, path, "application/json, Text/HTML;q=0.1"), "{path}");
            assert!(!wanted(Method::POST, path, html), "{path}");
            assert!(!wanted(Method::GET, path, "*/*"), "{path}");
            assert!(!wanted(Method::GET, path, "text/htmlx"), "{path}");
        }
        for path in ["/v1", "/v1/session", "/consoles", "//console/", "//evil.example/console/", "/x/console/"] {
            assert!(!wanted(Method::GET, path, html), "{path}");
        }
    }
}
