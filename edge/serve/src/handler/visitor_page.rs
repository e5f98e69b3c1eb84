//! Pages for strangers at protected content: password form, login, or the notice that a link is needed. The pages work
//! without a script, and load no resource.

use bytes::Bytes;
use devanture_config::text::html_text;
use devanture_site::cache;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::decision::{Decision, SmallAnswer};
use super::header_rules::HeaderRules;
use super::refused::Refused;
use super::respond;
use super::visitor::{LOGIN_PATH, LOGOUT_PATH};

/// The page loads no resource, and its form is sent to its own host.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'";
/// The address may contain the secret of a link, and must not leak. `no-referrer` would make browsers send the form
/// without an origin.
const REFERRER: HeaderValue = HeaderValue::from_static("strict-origin");
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
const STYLE: &str = "body{display:grid;min-height:90vh;place-content:center;font:1.1rem/1.5 system-ui,sans-serif;\
                     color-scheme:light dark;padding:1rem}main{max-width:24rem}h1{font-size:1.3rem}\
                     input,button{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;margin:.3rem 0}";
const ACCOUNT_FIELD: &str = "<label for=\"account\">Account</label>\n\
    <input id=\"account\" name=\"login\" autocomplete=\"username\" required autofocus>\n";

/// The buttons of a page for a logged-in person.
pub(super) const GO_ON: &str = "continue";
pub(super) const LOG_OUT: &str = "logout";

/// Kind of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form<'f> {
    /// No form.
    None,
    /// The password of the protection; then a redirect to the address.
    Password(&'f str),
    /// The password of the share link with the given text.
    Link(&'f str),
    /// Login at another hostname; then a redirect to the address.
    Login(&'f str),
    /// The name and the password of an account; with the request, and the hostname and origin of the site.
    Account { request: &'f str, host: &'f str, origin: &'f str },
    /// The account page for a logged-in person, with the person's name.
    Person { request: &'f str, host: &'f str, origin: &'f str, name: &'f str },
    /// The logout page of the login hostname, with the name of the logged-in person, if any.
    Logout(Option<&'f str>),
    /// An error page of the login hostname, with the address of the login's start, if known.
    Elsewhere(Option<&'f str>),
}

/// The page, with the status and the sentence of `refused` if shown again for a refusal.
pub(super) fn page(form: Form<'_>, notice: Option<&str>, refused: Refused) -> Decision {
    page_again(form, notice, refused, None)
}

/// The page, with the seconds until the form may be sent again.
pub(super) fn page_again(form: Form<'_>, notice: Option<&str>, refused: Refused, retry_s: Option<u64>) -> Decision {
    shown(form, notice, refused.row().0, Some(refused), retry_s)
}

/// The logout page.
pub(super) fn logout_page(name: Option<&str>, notice: Option<&str>) -> Decision {
    shown(Form::Logout(name), notice, StatusCode::OK.as_u16(), None, None)
}

fn shown(
    form: Form<'_>,
    notice: Option<&str>,
    status: u16,
    refused: Option<Refused>,
    retry_s: Option<u64>,
) -> Decision {
    let sentence = match form {
        Form::None => "To see it, open it by a link that somebody shares with you.".to_owned(),
        Form::Password(_) | Form::Link(_) => "To see it, enter its password.".to_owned(),
        Form::Login(_) => "To see it, log in.".to_owned(),
        Form::Account { host, .. } => {
            format!("To see {}, log in with your account of this server.", html_text::escaped(host))
        }
        Form::Person { host, name, .. } => {
            let (host, name) = (html_text::escaped(host), html_text::escaped(name));
            format!("To see {host}, go on as <strong>{name}</strong>: you are logged in.")
        }
        Form::Logout(Some(name)) => format!("You are logged in as <strong>{}</strong>.", html_text::escaped(name)),
        Form::Logout(None) => "Nobody is logged in here with this browser.".to_owned(),
        Form::Elsewhere(_) => "To see it, open its address again, and log in there.".to_owned(),
    };
    let notice = notice
        .map_or_else(String::new, |text| format!("<p id=\"notice\" role=\"alert\">{}</p>\n", html_text::escaped(text)));
    let policy = match form {
        // Browsers also check the redirect target of a form.
        Form::Account { origin, .. } | Form::Person { origin, .. } => {
            HeaderValue::from_str(&POLICY.replace("'self'", &format!("'self' {origin}")))
        }
        _ => Ok(HeaderValue::from_static(POLICY)),
    };
    let title = match form {
        Form::Logout(_) => "Login",
        _ => "This site is protected",
    };
    let (is_login_host, form) = (form.is_of_login_host(), form_html(form));
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Protected</title>\n\
         <style>{STYLE}</style>\n<main>\n<h1>{title}</h1>\n<p>{sentence}</p>\n{notice}{form}</main>\n"
    );
    let mut headers = HeaderMap::with_capacity(10);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, policy.unwrap_or(HeaderValue::from_static(POLICY)));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    common_fields(&mut headers);
    if is_login_host {
        // An opener of the window must not observe the page, and no page may embed the page.
        for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("same-origin"));
        }
    }
    if let Some(refused) = refused {
        respond::add_fields(refused, &mut headers);
    }
    if let Some(retry_s) = retry_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(retry_s));
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
    answer(status, headers, Bytes::from(body))
}

impl Form<'_> {
    /// Returns true if the page belongs to the login hostname.
    const fn is_of_login_host(self) -> bool {
        matches!(self, Self::Account { .. } | Self::Person { .. } | Self::Logout(_) | Self::Elsewhere(_))
    }
}

/// A form without visible fields: the button of a step, and the hidden fields.
fn button(path: &str, fields: &[(&str, &str)], id: &str, text: &str) -> String {
    let hidden = |(name, value): &(&str, &str)| {
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">\n", html_text::escaped(value))
    };
    let fields: String = fields.iter().map(hidden).collect();
    let text = html_text::escaped(text);
    format!("<form method=\"post\" action=\"{path}\">\n{fields}<button id=\"{id}\">{text}</button>\n</form>\n")
}

/// The link or the fields of a page.
fn form_html(form: Form<'_>) -> String {
    let link = |address: &str, text: &str| {
        format!("<p><a id=\"login\" href=\"{}\">{text}</a></p>\n", html_text::escaped(address))
    };
    let (name, value) = match form {
        Form::None | Form::Elsewhere(None) | Form::Logout(None) => return String::new(),
        Form::Logout(Some(_)) => return button(LOGOUT_PATH, &[], "logout", "Log out"),
        Form::Person { request, name, .. } => {
            let fields = |step| [("request", request), ("login", name), ("step", step)];
            let go_on = button(LOGIN_PATH, &fields(GO_ON), "go-on", "Continue");
            return go_on + &button(LOGIN_PATH, &fields(LOG_OUT), "logout", "Log out, and use another account");
        }
        Form::Elsewhere(Some(address)) => return link(address, "Open it again"),
        Form::Login(to) => {
            return link(&format!("{LOGIN_PATH}?to={}", utf8_percent_encode(to, NON_ALPHANUMERIC)), "Log in");
        }
        Form::Account { request, .. } => ("request", request),
        Form::Password(to) => ("to", to),
        Form::Link(link) => ("link", link),
    };
    let (account, focus) = match form {
        Form::Account { .. } => (ACCOUNT_FIELD, ""),
        _ => ("", " autofocus"),
    };
    format!(
        "<form method=\"post\" action=\"{LOGIN_PATH}\">\n\
         <input type=\"hidden\" name=\"{name}\" value=\"{}\">\n{account}\
         <label for=\"password\">Password</label>\n\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" \
         required{focus}>\n<button>Continue</button>\n</form>\n",
        html_text::escaped(value)
    )
}

/// Redirects a visitor and sets the cookies: to an address of the same host, or to the login hostname.
pub(super) fn entered(to: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Decision {
    let mut redirect = SmallAnswer::redirect(StatusCode::SEE_OTHER, to);
    common_fields(&mut redirect.headers);
    redirect.headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for cookie in cookies {
        redirect.headers.append(SET_COOKIE, cookie);
    }
    redirect.into()
}

/// Keeps the page out of search engines and caches.
fn common_fields(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER));
    headers.insert(REFERRER_POLICY, REFERRER);
    headers.insert(ROBOTS, HeaderValue::from_static("noindex"));
}

fn answer(status: StatusCode, headers: HeaderMap, body: Bytes) -> Decision {
    let (current, ruled) = (None, HeaderRules::default());
    SmallAnswer { status, headers, body, current, ruled, custom_host: false, status_page: None }.into()
}
