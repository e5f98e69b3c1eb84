//! The page on which a person logs in: what a browser without a session gets at the addresses of the console, and the
//! page that says why nobody logs in at a hostname.
//!
//! They are the same for everybody, and the first goes on at the very address that it stands at.

use devanture_config::text::html_text;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, REFERRER_POLICY, VARY, WWW_AUTHENTICATE, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::answer;
use super::answer::Body;
use super::body::RequestBody;
use super::call::Answer;
use crate::ledger::Error;

const PAGE: &str = include_str!("login.html");
/// The page of a hostname that is refused, with places for the sentence and the hint.
const REFUSED_PAGE: &str = include_str!("refused_host.html");
/// Lets the one script of [`PAGE`] and the one style of both pages run, and the script send to this edge.
const POLICY: &str = "default-src 'none'; script-src 'sha256-Ubh17PkowX1HuX6tscabtv58NDpLG9PHBemd+Qdh1Pc='; \
    style-src 'sha256-amh8/6+h+u/svIYvnxurbpc+yR0Nvt0Ft2J/3z0A6Uo='; connect-src 'self'; form-action 'none'; \
    base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
/// The folder of the console, without its last slash.
const CONSOLE: &str = "/console";

/// Whether a path is one of the console.
pub(super) fn is_of_console(uri: &Uri) -> bool {
    let rest = uri.path().strip_prefix(CONSOLE);
    uri.path() == "/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a request is that of a browser that opens a page of the console.
pub(super) fn is_wanted(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let accepts_html = || {
        let mut ranges = accepts.flat_map(|accept| accept.split(','));
        ranges.any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html"))
    };
    matches!(*method, Method::GET | Method::HEAD) && is_of_console(uri) && accepts_html()
}

/// The page, with 401 as every answer to a client without a credential.
pub(super) fn page() -> Response<Body> {
    with_fields(StatusCode::UNAUTHORIZED, PAGE.to_owned())
}

/// The refusal of a hostname, as a page for a browser that opens one of the console.
///
/// # Errors
/// The refusal, for every other client.
pub(super) fn refused(refusal: Error, status: StatusCode, request: &Request<RequestBody>) -> Answer {
    if !is_wanted(request.method(), request.uri(), request.headers()) {
        return Err(refusal);
    }
    let Error(problem) = refusal;
    let hint = problem.hint.unwrap_or_default();
    let [detail, hint] = [&problem.detail, &hint].map(|text| html_text::escaped(text));
    Ok(with_fields(status, REFUSED_PAGE.replace("{detail}", &detail).replace("{hint}", &hint)))
}

fn with_fields(status: StatusCode, html: String) -> Response<Body> {
    let mut response = answer::typed(status, "text/html; charset=utf-8", html.into());
    let fields = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (VARY, "Accept, Cookie"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    response.headers_mut().extend(fields.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110 §11.6.1.
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::page_policy;

    #[test]
    fn the_policy_lets_run_what_the_page_has_and_nothing_else() {
        page_policy::check(PAGE, POLICY);
    }

    #[test]
    fn both_pages_have_one_style() {
        let style = |page: &str| page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0.to_owned();
        assert_eq!(style(PAGE), style(REFUSED_PAGE));
        assert!(!REFUSED_PAGE.contains("<script"));
    }

    #[test]
    fn the_page_goes_nowhere_that_an_address_names() {
        for word in
            ["searchParams", "location.search", "location.hash", "innerHTML", "eval(", "localStorage", "onclick"]
        {
            assert!(!PAGE.contains(word), "{word}");
        }
        assert_eq!(PAGE.matches("location.").count(), 2, "it reads its own address and goes there");
    }

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
