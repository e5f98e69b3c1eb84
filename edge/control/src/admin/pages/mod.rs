//! Built-in pages of the edge: a shared frame and style, and policies that allow only the page's own content.

use std::fmt::Display;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use devanture_config::text::html_text;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::answer;
use super::answer::Body;

const FRAME: &str = include_str!("frame.html");

/// Login page.
pub(super) static LOGIN: LazyLock<Page> = LazyLock::new(|| {
    Page::new("Log in", include_str!("login.html"), include_str!("login.js"))
        .with_policy("connect-src 'self'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'")
});
/// Page of an invitation, where an invited user sets a password.
pub(super) static INVITATION: LazyLock<Page> = LazyLock::new(|| {
    Page::new("Set your password", include_str!("invitation.html"), include_str!("invitation.js"))
        .with_policy("form-action 'self'")
});

/// Page with its content security policy.
pub(super) struct Page {
    html: String,
    /// Policy sources of the shared style and of the page's script.
    sources: String,
    policy: HeaderValue,
}

impl Page {
    /// Builds a page from title, markup and script; the script may be empty.
    fn new(title: &str, main: &str, script: &str) -> Self {
        let element = if script.is_empty() { String::new() } else { format!("<script>{script}</script>\n") };
        let html = FRAME.replace("{title}", title).replace("{main}", main).replace("{script}", &element);
        let style = FRAME.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>"));
        let mut sources = format!("style-src '{}'", hash(style.map_or("", |(style, _)| style)));
        if !script.is_empty() {
            sources = format!("script-src '{}'; {sources}", hash(script));
        }
        Self { html, sources, policy: HeaderValue::from_static("default-src 'none'") }.with_policy("form-action 'none'")
    }

    /// Extends the policy.
    fn with_policy(mut self, more: &str) -> Self {
        let sources = &self.sources;
        let policy = format!("default-src 'none'; {sources}; {more}; base-uri 'none'; frame-ancestors 'none'");
        // All policy characters are valid in a field; otherwise the page is sent without content.
        if let Ok(policy) = HeaderValue::try_from(policy) {
            self.policy = policy;
        }
        self
    }

    /// Builds a page of a few sentences.
    pub(super) fn of_text(title: &str, paragraphs: &[impl Display]) -> Self {
        let paragraphs = paragraphs.iter().map(|text| format!("<p>{}</p>\n", html_text::escaped(&text.to_string())));
        Self::new(&html_text::escaped(title), &paragraphs.collect::<String>(), "")
    }

    /// Returns a response with the page.
    pub(super) fn answer(&self, status: StatusCode) -> Response<Body> {
        let mut response = answer::typed(status, "text/html; charset=utf-8", self.html.clone().into());
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        let fields = [
            (REFERRER_POLICY, "no-referrer"),
            (X_FRAME_OPTIONS, "DENY"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ];
        headers.extend(fields.map(|(name, value)| (name, HeaderValue::from_static(value))));
        response
    }
}

/// Returns the policy source of a style or script.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_lets_run_what_the_page_has_and_nothing_else() {
        for page in [&*LOGIN, &*INVITATION, &Page::of_text("Done", &["Well."])] {
            let policy = page.policy.to_str().unwrap();
            for tag in ["script", "style"] {
                let Some((_, rest)) = page.html.split_once(&format!("<{tag}>")) else {
                    assert!(tag == "script" && !policy.contains("script-src"), "{policy}");
                    continue;
                };
                let (text, after) = rest.split_once(&format!("</{tag}>")).unwrap();
                assert!(!after.contains(&format!("<{tag}")), "there is one");
                assert!(policy.contains(&format!("{tag}-src '{}'", hash(text))), "{policy}");
            }
            assert!(policy.starts_with("default-src 'none'; ") && policy.contains("form-action"), "{policy}");
            assert!(!page.html.contains('{') || page.html.contains("<style>"));
            assert!(!["{title}", "{main}", "{script}"].iter().any(|place| page.html.contains(place)));
        }
    }

    #[test]
    fn the_page_to_log_in_goes_nowhere_that_an_address_names() {
        let page = &LOGIN.html;
        for word in
            ["searchParams", "location.search", "location.hash", "innerHTML", "eval(", "localStorage", "onclick"]
        {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(page.matches("location.").count(), 2, "it reads its own address and goes there");
    }

    #[test]
    fn nothing_of_a_text_is_markup() {
        let page = Page::of_text("<b>", &["<script>&"]);
        assert!(page.html.contains("&lt;script&gt;&amp;") && !page.html.contains("<b>"), "{}", page.html);
    }
}
