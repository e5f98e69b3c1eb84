//! The fields of the heads of one file's representations.

use std::sync::Arc;

use devanture_site::cache;
use devanture_site::negotiate::Coding;
use http::HeaderValue;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, LINK, VARY, X_CONTENT_TYPE_OPTIONS,
};

use super::field_list::{FieldList, USE_AS_DICTIONARY};
use super::head::PreparedHead;
use super::loader::{AtHand, Loader};
use super::{Representation, Setting, Source};

/// Fields that the heads of a file's representations have in common.
#[derive(Clone, Copy)]
pub(super) struct HeadFields<'h> {
    pub(super) media_type: &'h HeaderValue,
    pub(super) fingerprinted: bool,
    /// True if several encodings exist.
    pub(super) choice: bool,
    /// True if a representation may depend on a dictionary.
    pub(super) may_have_deltas: bool,
    /// `Use-As-Dictionary`.
    pub(super) used: Option<&'h HeaderValue>,
    /// A `Cache-Control` other than the usual.
    pub(super) kept: Option<&'h HeaderValue>,
    /// `Cache-Control` of the response to the fetch of an offered dictionary, at an address that has further responses.
    pub(super) offered: Option<&'h HeaderValue>,
    /// The integrity policy of a page.
    pub(super) policy: Option<&'h [(HeaderName, HeaderValue); 2]>,
    /// `Link`.
    pub(super) link: Option<&'h HeaderValue>,
    pub(super) version: &'h Loader<'h>,
}

impl HeadFields<'_> {
    pub(super) fn representation(&self, at_hand: &AtHand, bytes: Source) -> Representation {
        let of = (at_hand.coding, at_hand.size);
        Representation { head: PreparedHead::new(&at_hand.hash, of, self.list(at_hand.coding)), bytes }
    }

    /// The same bytes with the present fields.
    pub(super) fn again(&self, known: &Representation) -> Representation {
        let head = known.head.with(self.list(known.coding()));
        Representation { head, bytes: known.bytes.clone() }
    }

    /// The fields that an encoding shares with others.
    fn list(&self, coding: Coding) -> Arc<FieldList> {
        let field = |name, value| self.version.fields.field(name, value);
        let fixed = |name, value| field(name, HeaderValue::from_static(value));
        let mut not_modified = Vec::with_capacity(5);
        not_modified.push(match self.offered.or(self.kept) {
            Some(kept) => field(CACHE_CONTROL, kept.clone()),
            None => fixed(CACHE_CONTROL, cache::default_cache_control(self.fingerprinted)),
        });
        let vary_of_choice = self.choice.then(|| fixed(VARY, "accept-encoding"));
        not_modified.extend(match (self.offered.is_some(), self.may_have_deltas) {
            // The response answers no other request for the address (RFC 9111 §4.1), however long its dictionary is
            // fresh.
            (true, _) => Some(fixed(VARY, "*")),
            (false, true) => Some(fixed(VARY, "accept-encoding, available-dictionary")),
            (false, false) => vary_of_choice.clone(),
        });
        let used = self.used.map(|used| field(USE_AS_DICTIONARY, used.clone()));
        if self.offered.is_some() {
            // A 304 makes a dictionary of the bytes in the browser's cache (RFC 9111 §3.2).
            not_modified.extend(used.clone());
        }
        if let Some(link) = self.link {
            not_modified.push(field(LINK, link.clone()));
        }
        // In a 304 too: pages of the same bytes may get another policy.
        not_modified.extend(self.policy.into_iter().flatten().map(|(name, value)| field(name.clone(), value.clone())));
        if self.version.request.setting == Setting::Preview {
            not_modified.push(fixed(HeaderName::from_static("x-robots-tag"), "noindex"));
        }
        let mut more = Vec::with_capacity(5);
        more.push(field(CONTENT_TYPE, self.media_type.clone()));
        if coding != Coding::Identity {
            more.push(fixed(CONTENT_ENCODING, coding.as_str()));
        }
        more.extend(used.filter(|_| self.offered.is_none()));
        more.push(fixed(ACCEPT_RANGES, "bytes"));
        more.push(fixed(X_CONTENT_TYPE_OPTIONS, "nosniff"));
        self.version.fields.list(not_modified, more, vary_of_choice)
    }
}
