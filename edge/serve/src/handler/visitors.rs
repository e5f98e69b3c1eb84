//! Visitors of protected previews and environments: admission, and the responses to strangers.
//!
//! A cookie is checked during the decision. A form or a token needs a hash computation or a record lookup, and so a
//! future: see [`Visitor`].

use std::net::IpAddr;
use std::sync::Arc;

use devanture_config::AppName;
use devanture_config::api::Secret;
use devanture_config::problem::Code;
use http::header::ORIGIN;
use http::{HeaderMap, Request};

use super::decision::Decision;
use super::refused::Refused;
use super::visitor::{AtProtected, Kind, Step, Visitor};
use super::visitor_accounts::VisitorAccounts;
use super::visitor_decision::{ENDED, entered_by_link, form_of, link, local_address};
use super::visitor_form::{self, VisitorForm};
use super::visitor_page::{Form, entered, page, page_again};
use super::{Handler, visitor_cookie};
use devanture_base::clock;
use devanture_http::BodyError;

const WRONG: &str = "That is not the password.";

/// Looks up visitors.
pub struct Visitors {
    /// Passwords, accounts, tokens, and the `[oidc]` provider.
    pub accounts: Arc<dyn VisitorAccounts>,
    /// Milliseconds until a password must be entered again.
    pub login_ms_max: u64,
}

impl Handler {
    /// Looks a visitor up. Returns the response; `None` for an admitted visitor. The body is read only if the body is a
    /// form.
    pub(super) async fn visited<B>(
        &self,
        visitor: &Visitor,
        request: &mut Request<B>,
        (host, authority, from): (&str, &str, IpAddr),
    ) -> Option<Decision>
    where
        B: http_body::Body<Data = bytes::Bytes> + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let Some(visitors) = &self.visitors else {
            return Some(Decision::Refuse(Refused::Unavailable.into()));
        };
        let at = match &visitor.0 {
            Kind::Login(step) => {
                let mut decision = self.logging_in(visitors, *step, request, (authority, from)).await;
                self.keep_to_https(&mut decision, host);
                return Some(decision);
            }
            Kind::Protected(at) => at,
        };
        let AtProtected { restriction, step, .. } = at;
        match step {
            Step::Token(token) => {
                let may_visit = visitors.accounts.may_visit(token.expose(), &restriction.app, &restriction.place, from);
                // The token is for the edge; the proxy removes the field.
                (!may_visit.await).then(|| Decision::Refuse(Refused::Protected.into()))
            }
            Step::Form => {
                let is_own = is_of_own_page(request.headers(), authority);
                let form = match visitor_form::read(request).await {
                    Ok(form) => form,
                    Err(refused) => return Some(Decision::Refuse(refused.into())),
                };
                if !is_own {
                    return Some(page(form_of(restriction, local_address(&form.to)), None, Refused::Protected));
                }
                Some(self.entered(visitors, at, &form, (host, from)).await)
            }
        }
    }

    /// The response to a form.
    async fn entered(
        &self,
        visitors: &Visitors,
        at: &AtProtected,
        form: &VisitorForm,
        (host, from): (&str, IpAddr),
    ) -> Decision {
        let AtProtected { restriction, target, .. } = at;
        let live = &self.live;
        if !form.link.is_empty() {
            let Some((id, link)) = link(live, restriction, target, &form.link) else {
                return page(form_of(restriction, "/"), Some(ENDED), Refused::Protected);
            };
            let what = format!("share {} {id}", restriction.app);
            let hash = link.password_hash(live);
            return match check(visitors, (&restriction.app, &what), hash, &form.password, from).await {
                Ok(()) => entered_by_link(live, host, id, &link),
                Err(unchecked) => unchecked.page(Form::Link(&form.link)),
            };
        }
        let to = local_address(&form.to);
        let own = form_of(restriction, to);
        if !matches!(own, Form::Password(_)) {
            return page(own, None, Refused::Protected);
        }
        let what = format!("visitor {} {}", restriction.app, restriction.place);
        let hash = restriction.password_hash(live);
        if let Err(unchecked) = check(visitors, (&restriction.app, &what), hash, &form.password, from).await {
            return unchecked.page(Form::Password(to));
        }
        let now_s = clock::now_ms() / 1_000;
        let expires_s = now_s.saturating_add(visitors.login_ms_max / 1_000);
        let key = restriction.cookie_key(live);
        let cookie = key.and_then(|key| visitor_cookie::set(host, visitor_cookie::PASSWORD, &key, now_s, expires_s));
        cookie.map_or_else(|| Decision::Refuse(Refused::Unavailable.into()), |cookie| entered(to, [cookie]))
    }
}

/// Refusal of a password: a reason, a sentence, and the seconds until the next attempt.
struct NotTaken {
    refused: Refused,
    notice: &'static str,
    retry_s: Option<u64>,
}

impl NotTaken {
    /// The form again.
    fn page(&self, form: Form<'_>) -> Decision {
        page_again(form, Some(self.notice), self.refused, self.retry_s)
    }
}

/// Checks a password.
async fn check(
    visitors: &Visitors,
    what: (&AppName, &str),
    hash: Option<String>,
    password: &Secret,
    from: IpAddr,
) -> Result<(), NotTaken> {
    let because = |refused: Refused, retry_s| NotTaken { refused, notice: refused.row().1, retry_s };
    let Some(hash) = hash else { return Err(because(Refused::Unavailable, None)) };
    match visitors.accounts.check_password(what, &hash, password, from).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(NotTaken { notice: WRONG, ..because(Refused::Protected, None) }),
        Err(problem) if problem.code == Code::TooManyAttempts => {
            Err(because(Refused::TooManyAttempts, problem.retry_after_s))
        }
        Err(_) => Err(because(Refused::Unavailable, None)),
    }
}

/// Returns true if the browser reports that a form comes from a page of the same host: another site must not log a
/// visitor in.
pub(super) fn is_of_own_page(headers: &HeaderMap, authority: &str) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    headers.get(ORIGIN).is_none_or(|origin| {
        origin.as_bytes().strip_prefix(b"https://").is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    #[test]
    fn forms_of_other_sites_are_not_taken() {
        for (fields, expected) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://a.test:8443")], false),
            (&[("origin", "https://a.test:8443")], true),
            (&[("origin", "https://A.test:8443")], true),
            (&[("origin", "https://a.test")], false),
            (&[("origin", "http://a.test:8443")], false),
            (&[("origin", "null")], false),
        ] {
            let pair =
                |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), value.parse().unwrap());
            let headers: HeaderMap = fields.iter().map(pair).collect();
            assert_eq!(is_of_own_page(&headers, "a.test:8443"), expected, "{fields:?}");
        }
    }
}
