//! Preconditions: checks whether the client already has the response, or wants no response (RFC 9110 §13).
//!
//! Preconditions apply only if the response without them would be a 200 (§13.2.1): never to a redirect, a 404 page or
//! an error. The validators belong to the negotiated variant, so that a tag of one encoding says nothing about another.

use super::date;
use super::fields::trimmed;

/// The validators of the selected variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validators<'a> {
    /// The strong entity tag, with quotes.
    pub etag: &'a str,
    /// `Last-Modified`, in seconds since the epoch.
    pub last_modified: u64,
    /// True if the date alone identifies exactly the same bytes (§8.8.2.2): true for the unencoded file, whose bytes
    /// change only by a switch that moves the date, and false for a variant, which may be remade in between.
    pub date_is_strong: bool,
}

/// The preconditions of a request; a field in several lines is joined first, see `fields`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Preconditions<'a> {
    /// `If-Match`
    pub if_match: Option<&'a [u8]>,
    /// `If-None-Match`
    pub if_none_match: Option<&'a [u8]>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<&'a [u8]>,
    /// `If-Unmodified-Since`
    pub if_unmodified_since: Option<&'a [u8]>,
    /// The time, in seconds since the epoch, for reading dates with a two-digit year.
    pub now_seconds: u64,
}

/// The result of the preconditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 304: the client has the representation.
    NotModified,
    /// 412: a required condition fails.
    PreconditionFailed,
    /// Answer as without preconditions.
    Proceed,
}

/// Evaluates the preconditions in the order of RFC 9110 §13.2.2; `is_read` is true for GET and HEAD.
#[must_use]
pub fn evaluate(is_read: bool, preconditions: &Preconditions<'_>, validators: &Validators<'_>) -> Outcome {
    let now = preconditions.now_seconds;
    // Steps 1 and 2: If-Match, and only without If-Match the field If-Unmodified-Since.
    if let Some(tags) = preconditions.if_match {
        if !matches_any(tags, validators.etag, Comparison::Strong) {
            return Outcome::PreconditionFailed;
        }
    } else if let Some(date) = preconditions.if_unmodified_since.and_then(|value| date::parse(value, now))
        && is_after(validators.last_modified, date)
    {
        return Outcome::PreconditionFailed;
    }
    // Steps 3 and 4: If-None-Match, and only without If-None-Match the field If-Modified-Since, for reads alone.
    if let Some(tags) = preconditions.if_none_match {
        if matches_any(tags, validators.etag, Comparison::Weak) {
            return if is_read { Outcome::NotModified } else { Outcome::PreconditionFailed };
        }
    } else if is_read
        && let Some(date) = preconditions.if_modified_since.and_then(|value| date::parse(value, now))
        && !is_after(validators.last_modified, date)
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Returns true if `Range` applies: step 5 of RFC 9110 §13.2.2, and §13.1.5.
#[must_use]
pub fn range_applies(if_range: Option<&[u8]>, validators: &Validators<'_>, now_seconds: u64) -> bool {
    let Some(value) = if_range.map(trimmed) else { return true };
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        // A single tag, compared strongly: a weak tag never applies.
        return value == validators.etag.as_bytes();
    }
    // The exact date, not an earlier or later one.
    let date = date::parse(value, now_seconds);
    validators.date_is_strong && date.is_some_and(|date| u64::try_from(date) == Ok(validators.last_modified))
}

/// Comparison of two tags (RFC 9110 §8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Both strong, and equal.
    Strong,
    /// Equal except for the weakness mark.
    Weak,
}

/// Returns true if a field's value lists the strong, quoted `etag`, or is `*`.
#[must_use]
pub fn matches_any(value: &[u8], etag: &str, comparison: Comparison) -> bool {
    // Most clients return the single tag that they received, which needs no parsing.
    value == etag.as_bytes()
        || trimmed(value) == b"*"
        || entity_tags(value)
            .any(|tag| tag.opaque == etag.as_bytes() && (comparison == Comparison::Weak || !tag.is_weak))
}

/// One entity tag of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// True if prefixed by `W/`.
    pub is_weak: bool,
    /// The rest, with quotes.
    pub opaque: &'a [u8],
}

/// The well-formed tags of a list (RFC 9110 §8.8.3); a malformed member is skipped up to the next comma.
pub fn entity_tags(value: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            while let [b' ' | b'\t' | b',', after @ ..] = rest {
                rest = after;
            }
            if rest.is_empty() {
                return None;
            }
            let (tag, after) = first_tag(rest);
            // A tag may contain a comma, so the next member begins only after the parsed tag.
            let end = after.iter().position(|&byte| byte == b',').unwrap_or(after.len());
            let (junk, next) = after.split_at_checked(end).unwrap_or_default();
            rest = next;
            if let Some(tag) = tag
                && trimmed(junk).is_empty()
            {
                return Some(tag);
            }
        }
    })
}

/// The tag at the start of `text`, and the rest; without a tag nothing is consumed, and a malformed tag entirely.
fn first_tag(text: &[u8]) -> (Option<EntityTag<'_>>, &[u8]) {
    let (is_weak, quoted) = match text {
        [b'W', b'/', quoted @ ..] => (true, quoted),
        _ => (false, text),
    };
    let [b'"', inner @ ..] = quoted else { return (None, text) };
    let Some(length) = inner.iter().position(|&byte| byte == b'"') else { return (None, &[]) };
    let (opaque, after) = quoted.split_at_checked(length + 2).unwrap_or_default();
    let is_fine = inner.iter().take(length).all(|&byte| byte == 0x21 || byte >= 0x23 && byte != 0x7f);
    (is_fine.then_some(EntityTag { is_weak, opaque }), after)
}

fn is_after(seconds: u64, date: i64) -> bool {
    i128::from(seconds) > i128::from(date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tag_that_is_sent_back_alone_is_a_list_with_that_tag() {
        for etag in ["\"\"", "\"a\"", "\"a,b\"", "\"*\"", "\"W/\"", "\"f2ca1bb6c7e907d06dafe4687e579fce\""] {
            let tags: Vec<_> = entity_tags(etag.as_bytes()).collect();
            assert_eq!(tags, [EntityTag { is_weak: false, opaque: etag.as_bytes() }]);
            assert!(matches_any(etag.as_bytes(), etag, Comparison::Strong), "{etag}");
        }
    }
    use std::hint::black_box;

    const NOW: u64 = 1_768_435_200;
    const OURS: Validators<'_> = Validators { etag: "\"ours\"", last_modified: 784_111_777, date_is_strong: true };
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const EXACT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EXACT_850: &str = "Sunday, 06-Nov-94 08:49:37 GMT";
    const EXACT_C: &str = "Sun Nov  6 08:49:37 1994";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    /// `name: value` lines.
    fn preconditions<'a>(lines: &[&'a str]) -> Preconditions<'a> {
        let mut all = Preconditions { now_seconds: NOW, ..Preconditions::default() };
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let place = match name {
                "IM" => &mut all.if_match,
                "INM" => &mut all.if_none_match,
                "IMS" => &mut all.if_modified_since,
                "IUS" => &mut all.if_unmodified_since,
                _ => unreachable!("{name}"),
            };
            *place = Some(value.as_bytes());
        }
        all
    }

    #[test]
    fn preconditions_are_evaluated_in_order() {
        use Outcome::{NotModified, PreconditionFailed, Proceed};
        let ims = |date: &str| format!("IMS: {date}");
        let ius = |date: &str| format!("IUS: {date}");
        let (ims_before, ims_exact, ims_after) = (ims(BEFORE), ims(EXACT), ims(AFTER));
        let (ius_before, ius_exact, ius_after) = (ius(BEFORE), ius(EXACT), ius(AFTER));
        let (ims_850, ims_c, ius_850, ius_c) = (ims(EXACT_850), ims(EXACT_C), ius(EXACT_850), ius(EXACT_C));
        let ims_two = format!("IMS: {EXACT}, {EXACT}");
        #[rustfmt::skip]
        let cases: &[(&[&str], Outcome)] = &[
            (&[],                                         Proceed),
            // RFC 9110 §13.1.1: If-Match, strong comparison.
            (&["IM: \"ours\""],                           Proceed),
            (&["IM: *"],                                  Proceed),
            (&["IM: \"x\", \"ours\""],                    Proceed),
            (&["IM: \"x\""],                              PreconditionFailed),
            (&["IM: W/\"ours\""],                         PreconditionFailed),
            (&["IM: ours"],                               PreconditionFailed),
            (&["IM: "],                                   PreconditionFailed),
            // §13.1.4: If-Unmodified-Since, ignored beside If-Match or if no date.
            (&[&ius_before],                              PreconditionFailed),
            (&[&ius_exact],                               Proceed),
            (&[&ius_850],                                 Proceed),
            (&[&ius_c],                                   Proceed),
            (&[&ius_after],                               Proceed),
            (&["IUS: Thu, 01 Jan 1903 00:00:00 GMT"],     PreconditionFailed),
            (&["IUS: yesterday"],                         Proceed),
            (&["IM: \"ours\"", &ius_before],              Proceed),
            (&["IM: \"x\"", &ius_after],                  PreconditionFailed),
            // §13.1.2: If-None-Match, weak comparison.
            (&["INM: \"ours\""],                          NotModified),
            (&["INM: W/\"ours\""],                        NotModified),
            (&["INM: *"],                                 NotModified),
            (&["INM:  * "],                               NotModified),
            (&["INM: \"x\",W/\"y\" , \"ours\""],          NotModified),
            (&["INM: ,, \"ours\",,"],                     NotModified),
            (&["INM: \"a,b\", \"ours\""],                 NotModified),
            (&["INM: nonsense, \"ours\""],                NotModified),
            (&["INM: \"x\" y, \"ours\""],                 NotModified),
            (&["INM: \"\u{e9}\", \"ours\""],              NotModified), // §8.8.3: obs-text
            (&["INM: \"x\""],                             Proceed),
            (&["INM: \"OURS\""],                          Proceed),
            (&["INM: w/\"ours\""],                        Proceed),
            (&["INM: ours"],                              Proceed),
            (&["INM: \"ours"],                            Proceed),
            (&["INM: \"x, \"ours\""],                     Proceed),
            (&["INM: \"ours\"x"],                         Proceed),
            (&["INM: \"ours-gzip\""],                     Proceed),
            (&["INM: \"x\", *"],                          Proceed),     // `*` stands alone
            (&["INM: "],                                  Proceed),
            // §13.1.3: If-Modified-Since, ignored beside If-None-Match or if no date.
            (&[&ims_before],                              Proceed),
            (&[&ims_exact],                               NotModified),
            (&[&ims_850],                                 NotModified),
            (&[&ims_c],                                   NotModified),
            (&[&ims_after],                               NotModified),
            (&[&ims_two],                                 Proceed),     // more than one member
            (&["IMS: 784111777"],                         Proceed),
            (&["INM: \"x\"", &ims_after],                 Proceed),
            (&["INM: \"ours\"", &ims_before],             NotModified),
            // §13.2.2: both kinds.
            (&["IM: \"ours\"", "INM: \"ours\""],          NotModified),
            (&["IM: \"x\"", "INM: \"ours\""],             PreconditionFailed),
            (&[&ius_after, &ims_after],                   NotModified),
            (&[&ius_before, "INM: \"ours\""],             PreconditionFailed),
            (&["IM: *", "INM: \"x\"", &ims_after],        Proceed),
        ];
        for (lines, expected) in cases {
            assert_eq!(evaluate(true, &preconditions(lines), &OURS), *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_method_that_is_no_read_fails_where_a_read_is_not_modified() {
        assert_eq!(evaluate(false, &preconditions(&["INM: *"]), &OURS), Outcome::PreconditionFailed);
        let since = format!("IMS: {AFTER}");
        assert_eq!(evaluate(false, &preconditions(&[&since]), &OURS), Outcome::Proceed);
    }

    #[test]
    fn a_range_applies_to_the_very_bytes_that_it_was_meant_for() {
        #[rustfmt::skip]
        let cases = [
            // RFC 9110 §13.1.5
            (None,              true),
            (Some("\"ours\""),  true),
            (Some(" \"ours\""), true),
            (Some("\"x\""),     false),
            (Some("W/\"ours\""), false),
            (Some("\"x\", \"ours\""), false), // one validator, not a list
            (Some("*"),         false),
            (Some(EXACT),       true),
            (Some(EXACT_850),   true),
            (Some(EXACT_C),     true),
            (Some(BEFORE),      false),
            (Some(AFTER),       false),
            (Some("ours"),      false),
            (Some(""),          false),
        ];
        for (value, expected) in cases {
            assert_eq!(range_applies(value.map(str::as_bytes), &OURS, NOW), expected, "{value:?}");
        }
        let variant = Validators { date_is_strong: false, ..OURS };
        assert!(!range_applies(Some(EXACT.as_bytes()), &variant, NOW));
        assert!(range_applies(Some(b"\"ours\""), &variant, NOW));
    }

    proptest! {
        #[test]
        fn a_tag_is_found_anywhere_in_a_list(
            before in proptest::collection::vec("(W/)?\"[!#-~]{0,6}\"", 0..4),
            after in proptest::collection::vec("(W/)?\"[!#-~]{0,6}\"", 0..4),
            weak in any::<bool>(),
        ) {
            let ours = if weak { "W/\"ours\"" } else { "\"ours\"" };
            let list: Vec<&str> =
                before.iter().map(String::as_str).chain([ours]).chain(after.iter().map(String::as_str)).collect();
            let value = list.join(" , ");
            prop_assert!(matches_any(value.as_bytes(), "\"ours\"", Comparison::Weak));
            prop_assert_eq!(entity_tags(value.as_bytes()).count(), list.len());
            let strong = list.contains(&"\"ours\"");
            prop_assert_eq!(matches_any(value.as_bytes(), "\"ours\"", Comparison::Strong), strong);
        }

        #[test]
        fn no_bytes_make_it_panic(value in any::<Vec<u8>>()) {
            for tag in entity_tags(&value) {
                prop_assert!(tag.opaque.len() >= 2);
            }
            let all = Preconditions {
                if_match: Some(&value),
                if_none_match: Some(&value),
                if_modified_since: Some(&value),
                if_unmodified_since: Some(&value),
                now_seconds: NOW,
            };
            black_box(evaluate(true, &all, &OURS));
            black_box(range_applies(Some(&value), &OURS, NOW));
        }
    }
}
