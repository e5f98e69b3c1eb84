//! Visitors of protected content, and the paths for visitors.

use std::sync::Arc;

use devanture_config::api::{Secret, ShareTarget};
use devanture_site::target::{self, Target};
use percent_encoding::percent_decode_str;

use crate::live::Restriction;

/// Target of the page's form, and start and end of logins.
pub(super) const LOGIN_PATH: &str = "/.well-known/devanture/login";
/// Page of the login hostname that shows the logged-in person and logs the person out.
pub(super) const LOGOUT_PATH: &str = "/.well-known/devanture/logout";
/// Callback of the `[oidc]` provider, at the login hostname.
pub(super) const CALLBACK_PATH: &str = "/.well-known/devanture/callback";
/// Target of share links, with the link's text in the query.
pub const SHARE_PATH: &str = "/.well-known/devanture/share";
/// The query parameter with the text of a link.
pub const SHARE_PARAMETER: &str = "link=";

/// A visitor to look up.
pub struct Visitor(pub(super) Kind);

/// Kind of a visitor by the requested hostname.
pub(super) enum Kind {
    /// At protected content.
    Protected(AtProtected),
    /// At the login hostname.
    Login(AtLogin),
}

/// A visitor of protected content.
pub(super) struct AtProtected {
    pub(super) restriction: Arc<Restriction>,
    pub(super) target: ShareTarget,
    pub(super) step: Step,
}

/// Evidence by which a visitor is looked up.
pub(super) enum Step {
    /// A form, in the body.
    Form,
    /// A token of the app.
    Token(Secret),
}

/// A step of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtLogin {
    /// Start.
    Begin,
    /// Return of the browser from the provider.
    Back,
    /// Form with the name and password of an account, or with the consent to use the previous login.
    Form,
    /// Page that shows the logged-in person.
    Person,
    /// Logout.
    Logout,
}

/// Common prefix of all paths above.
const FOLDER: &str = "/.well-known/devanture/";

/// Returns true if the query of a request for `path`, as sent, may contain secrets of visitors: texts of share links or
/// logins.
///
/// Any spelling of a secret path counts, also a redirected one or one with a suffix, as programs that find addresses in
/// text produce: the secret is valid at the right path.
pub(super) fn has_secret_query(path: &str) -> bool {
    let is_below = |path: &str| {
        let folder = path.as_bytes().get(..FOLDER.len());
        folder.is_some_and(|folder| folder.eq_ignore_ascii_case(FOLDER.as_bytes()))
    };
    match target::normalise(path, usize::MAX) {
        Target::Normal(path) => is_below(&path),
        Target::Redirect(path) => is_below(&path),
        // No resource answers the path, but clients may have meant the right path.
        Target::Refuse(_) => {
            let decoded = percent_decode_str(path).decode_utf8_lossy().replace('\\', "/");
            decoded.to_ascii_lowercase().contains("/devanture/")
        }
    }
}

/// The address without a query that contains secrets of visitors. The address may be absolute, of any host, or a path
/// alone.
pub(super) fn without_secret_query(address: &str) -> &str {
    let Some((place, _)) = address.split_once('?') else { return address };
    let path = match place.split_once("://").filter(|_| !place.starts_with('/')) {
        None => Some(place),
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)),
    };
    if path.is_some_and(has_secret_query) { place } else { address }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::{CACHE_CONTROL, REFERRER_POLICY};

    use super::*;
    use crate::handler::decision::SmallAnswer;

    #[test]
    fn no_spelling_of_a_path_for_visitors_has_a_query_that_others_may_see() {
        for path in [
            SHARE_PATH,
            LOGIN_PATH,
            CALLBACK_PATH,
            "/.well-known/devanture/share/",
            "//.well-known/devanture/share",
            "/./.well-known/devanture/share",
            "/x/../.well-known/devanture/share",
            "/.well-known//devanture/%73hare",
            "/.well-known%2Fdevanture/share",
            "/%2Ewell-known/%64evanture/share.",
            "/.WELL-KNOWN/Devanture/Share",
            "/.well-known\\devanture\\share",
            "/.well-known/devanture/share%",
        ] {
            assert!(has_secret_query(path), "{path}");
            for base in ["", "https://shop.example", "https://shop.example:8443"] {
                let place = format!("{base}{path}");
                assert_eq!(without_secret_query(&format!("{place}?link=a_b")), place);
            }
        }
        for path in
            ["/", "/share", "/.well-known/devanture", "/.well-known/security.txt", "/a/.well-known/devanture/share"]
        {
            assert!(!has_secret_query(path), "{path}");
            for base in ["", "https://shop.example"] {
                let address = format!("{base}{path}?link=a_b");
                assert_eq!(without_secret_query(&address), address);
            }
        }
        for address in ["", "?a", "*", "https://shop.example?a", "https://shop.example", SHARE_PATH] {
            assert_eq!(without_secret_query(address), address);
        }
    }
    #[test]
    fn a_redirect_with_a_secret_is_kept_by_nobody_and_told_to_no_other_page() {
        for (location, cached, referrer) in [
            ("/.well-known/devanture/share?link=a_b", "no-store", Some("no-referrer")),
            ("https://shop.example/.well-known/devanture/share/?link=a_b", "no-store", Some("no-referrer")),
            ("https://shop.example/?link=a_b", "public, max-age=0, must-revalidate", None),
            ("/.well-known/devanture/share", "public, max-age=0, must-revalidate", None),
        ] {
            let headers = SmallAnswer::redirect(StatusCode::PERMANENT_REDIRECT, location).headers;
            let field = |name| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!((field(CACHE_CONTROL), field(REFERRER_POLICY)), (Some(cached), referrer), "{location}");
        }
    }
}
