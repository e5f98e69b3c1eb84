//! Tickets of a login: what a protected hostname and the hostname where visitors log in hand to each other by way of a
//! browser.
//!
//! Each is signed with the secret of the protection that it is for, so that it ends with it and opens nothing else. It
//! names the hostname, and the hash of a secret that a cookie of that hostname holds: in another browser it is of no
//! use.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use crate::live::{Found, Live, Restriction};

/// Longest ticket, in bytes: with a secret beside it, it fits into a cookie.
const BYTES_MAX: usize = 3_500;

/// What a ticket is for; one is not taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To log in: from the protected hostname.
    Request,
    /// To be let in: from the hostname where visitors log in.
    Entry,
}

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ticket {
    pub(super) app: AppName,
    /// The environment; `preview` for previews.
    pub(super) place: PlaceName,
    /// The protected hostname.
    pub(super) host: String,
    /// Where the visitor wanted to go there.
    pub(super) to: String,
    /// The BLAKE3 of the secret of the browser, in hex.
    pub(super) browser: String,
    /// When the ticket ends, in seconds since 1970 UTC.
    pub(super) expires_s: u64,
    /// When what it lets in to ends; 0 in a request.
    pub(super) session_ends_s: u64,
    /// What the login with an account is known by, in a ticket that lets in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
}

impl Ticket {
    /// Its text; `None` if it is too long.
    pub(super) fn seal(&self, purpose: Purpose, key: &[u8; 32]) -> Option<String> {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).ok()?);
        let text = format!("{payload}.{}", signature(key, purpose, &payload).to_hex());
        (text.len() <= BYTES_MAX).then_some(text)
    }

    /// The ticket that a text is, with the protection that it is for; `None` if it was not made for this purpose with
    /// the secret of that protection, or has ended.
    pub(super) fn open(purpose: Purpose, text: &str, live: &Live, now_s: u64) -> Option<(Self, Arc<Restriction>)> {
        if text.len() > BYTES_MAX {
            return None;
        }
        let (payload, mac) = text.split_once('.')?;
        let ticket: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let restriction = live.restriction_named(&ticket.app, &ticket.place)?;
        let key = restriction.cookie_key(live).filter(|_| restriction.mode.has_login())?;
        // Compared in constant time.
        let is_signed = signature(&key, purpose, payload) == blake3::Hash::from_hex(mac).ok()?;
        (is_signed && ticket.expires_s > now_s).then_some((ticket, restriction))
    }

    /// Whether its hostname still is one of what it is for.
    pub(super) fn is_there(&self, live: &Live) -> bool {
        live.find(&self.host, |found| match found {
            Found::Nobody => false,
            Found::Place(entry) => entry.place.restriction().is_some_and(|restriction| self.is_of(&restriction)),
            Found::Preview(key) => key.app == self.app && self.place.is_preview(),
            // The login looks as it does for a preview that is there.
            Found::Hidden(hidden) => self.is_of(&hidden.restriction),
        })
    }

    /// Whether it is for this protection.
    pub(super) fn is_of(&self, restriction: &Restriction) -> bool {
        self.app == restriction.app && self.place == restriction.place
    }
}

fn signature(key: &[u8; 32], purpose: Purpose, payload: &str) -> blake3::Hash {
    let purpose = match purpose {
        Purpose::Request => "devanture 2026 request of a login",
        Purpose::Entry => "devanture 2026 entry after a login",
    };
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in [purpose, payload] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            app: "shop".parse().unwrap(),
            place: "staging".parse().unwrap(),
            host: "staging--shop.localhost".to_owned(),
            to: "/".to_owned(),
            browser: "00".to_owned(),
            expires_s: 1,
            session_ends_s: 0,
            account: None,
        }
    }

    #[test]
    fn a_ticket_of_one_purpose_or_secret_is_signed_as_no_other() {
        let sealed = |purpose, key| ticket().seal(purpose, &[key; 32]).unwrap();
        let one = sealed(Purpose::Request, 1);
        assert_eq!(one, sealed(Purpose::Request, 1));
        assert!(one != sealed(Purpose::Entry, 1) && one != sealed(Purpose::Request, 2));
    }

    #[test]
    fn a_ticket_that_fits_into_no_cookie_is_not_made() {
        let long = Ticket { to: "/".repeat(3_000), ..ticket() };
        assert_eq!(long.seal(Purpose::Request, &[1; 32]), None);
    }
}
