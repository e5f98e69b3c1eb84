//! Tickets of a login, passed between a protected hostname and the login hostname by the browser.
//!
//! Each ticket is signed with the secret of its protection, so that a ticket ends with the protection and opens no
//! other content. A ticket names the hostname, and the hash of a secret in a cookie of the hostname: in another browser
//! the ticket is useless.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use crate::live::{Found, Live, Restriction};

/// Longest ticket, in bytes: a ticket and a secret fit into one cookie.
const BYTES_MAX: usize = 3_500;

/// Purpose of a ticket; a ticket of one purpose is invalid for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Login: from the protected hostname.
    Request,
    /// Admission: from the login hostname.
    Entry,
}

/// Content of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ticket {
    pub(super) app: AppName,
    /// The environment; `preview` for previews.
    pub(super) place: PlaceName,
    /// The protected hostname.
    pub(super) host: String,
    /// The address that the visitor wanted there.
    pub(super) to: String,
    /// BLAKE3 of the browser's secret, in hex.
    pub(super) browser: String,
    /// End of the ticket, in seconds since 1970 UTC.
    pub(super) expires_s: u64,
    /// End of the admission; 0 in a request.
    pub(super) session_ends_s: u64,
    /// Mark of the account of the login, in an admission ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
}

impl Ticket {
    /// The text of the ticket; `None` if too long.
    pub(super) fn seal(&self, purpose: Purpose, key: &[u8; 32]) -> Option<String> {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).ok()?);
        let text = format!("{payload}.{}", signature(key, purpose, &payload).to_hex());
        (text.len() <= BYTES_MAX).then_some(text)
    }

    /// Parses a ticket, and finds its protection; `None` if the ticket was not made for the purpose with the secret of
    /// the protection, or has ended.
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

    /// Returns true if the hostname still belongs to the protected place.
    pub(super) fn is_there(&self, live: &Live) -> bool {
        live.find(&self.host, |found| match found {
            Found::Nobody => false,
            Found::Place(entry) => entry.place.restriction().is_some_and(|restriction| self.is_of(&restriction)),
            Found::Preview(key) => key.app == self.app && self.place.is_preview(),
            // The login looks the same as for an existing preview.
            Found::Hidden(hidden) => self.is_of(&hidden.restriction),
        })
    }

    /// Returns true if the ticket is for the protection.
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
