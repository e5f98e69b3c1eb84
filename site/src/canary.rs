//! Selects the visitors of an environment that get the canary: by a hash of the visitor's id, equal on every node.
//!
//! A visitor has a number from 0 to 9,999, by a hash of the visitor's id and the canary's salt. Numbers below the share
//! get the canary, so that a larger share takes no visitor back, and another canary draws again. No state is stored.

use super::navigation;

/// The cookie that the edge sets if the site names no cookie.
pub const VISITOR_COOKIE: &str = "__Host-devanture-visitor";
/// Characters of a visitor id made by the edge.
pub const VISITOR_CHARACTERS: usize = 16;
/// Number of buckets of visitors.
const PARTS: u64 = 10_000;

/// Parts of a `User-Agent` by which crawlers, chat previews and monitors identify themselves, in lower case.
const CRAWLERS: [&[u8]; 15] = [
    b"bot",
    b"crawl",
    b"spider",
    b"slurp",
    b"facebookexternalhit",
    b"embedly",
    b"whatsapp",
    b"preview",
    b"lighthouse",
    b"pagespeed",
    b"gtmetrix",
    b"pingdom",
    b"uptime",
    b"archive.org",
    b"mediapartners",
];

/// The visitors that get the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// The same for all steps of one canary, and different between canaries.
    salt: u64,
    /// In per cent.
    share: u8,
}

impl Split {
    /// `share` per cent of the visitors, drawn by `salt`.
    #[must_use]
    pub fn new(salt: &str, share: u8) -> Self {
        Self { salt: hash(0, salt.as_bytes()), share }
    }

    /// Returns true if the visitor of the id gets the canary.
    #[must_use]
    pub fn takes(&self, visitor: &[u8]) -> bool {
        hash(self.salt, visitor) % PARTS < u64::from(self.share) * (PARTS / 100)
    }
}

/// A hash that is equal on every machine and in every release: FNV-1a, with bits mixed by the last steps of
/// MurmurHash3.
fn hash(salt: u64, bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ salt;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// The value of the cookie `name` in a line of `Cookie`; the first of several.
#[must_use]
pub fn cookie<'c>(field: &'c [u8], name: &str) -> Option<&'c [u8]> {
    let mut rest = field;
    loop {
        let pair = rest.trim_ascii_start();
        if let Some(value) = pair.strip_prefix(name.as_bytes()).and_then(|value| value.strip_prefix(b"=")) {
            let (value, _) = first_pair(value);
            return Some(value.trim_ascii_end()).filter(|value| !value.is_empty());
        }
        rest = first_pair(pair).1?;
    }
}

/// The part before the first semicolon, and the part after, if any.
///
/// A comma is no separator: browsers send a comma that a page put into a value, and the rest would become a cookie of
/// any name, even of a name that no page may set (RFC 6265 §5.4).
fn first_pair(field: &[u8]) -> (&[u8], Option<&[u8]>) {
    match semicolon(field).and_then(|place| Some((field.get(..place)?, field.get(place + 1..)?))) {
        Some((pair, rest)) => (pair, Some(rest)),
        None => (field, None),
    }
}

/// The position of the first semicolon. Compares eight bytes at once, since every request of a visitor runs the
/// function.
fn semicolon(field: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    const SEMICOLONS: u64 = u64::from_ne_bytes([b';'; 8]);
    let (words, rest) = field.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        // The lowest set bit marks the first zero byte.
        let differs = u64::from_le_bytes(*word) ^ SEMICOLONS;
        let found = differs.wrapping_sub(ONES) & !differs & HIGHEST;
        if found != 0 {
            return Some(number * 8 + usize::try_from(found.trailing_zeros() / 8).ok()?);
        }
    }
    Some(words.len() * 8 + rest.iter().position(|byte| *byte == b';')?)
}

/// Returns true for an id made by the edge: any other value in the edge's cookie counts as no cookie, and is replaced.
#[must_use]
pub fn is_visitor(id: &[u8]) -> bool {
    // No early exit: the bytes are compared together.
    let is_hex = |byte: &u8| byte.is_ascii_digit() | (b'a'..=b'f').contains(byte);
    id.len() == VISITOR_CHARACTERS && id.iter().fold(true, |all, byte| all & is_hex(byte))
}

/// Returns true if a request without the cookie draws a visitor: a browser's navigation, not a crawler's. Other
/// requests get the live version, since the client may store no cookie.
#[must_use]
pub fn is_drawn(mode: Option<&[u8]>, dest: Option<&[u8]>, accept: Option<&[u8]>, user_agent: Option<&[u8]>) -> bool {
    navigation::wants_page(mode, dest, accept) && user_agent.is_some_and(|agent| !is_crawler(agent))
}

fn is_crawler(user_agent: &[u8]) -> bool {
    let names = |name: &&[u8]| user_agent.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name));
    CRAWLERS.iter().any(names)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn visitors() -> impl Iterator<Item = String> {
        (0_u64..20_000).map(|number| format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    #[test]
    fn a_share_of_the_visitors_is_that_share_within_chance() {
        for share in [1_u8, 5, 10, 25, 50, 75, 99] {
            for salt in ["1", "18f3a", "a canary"] {
                let split = Split::new(salt, share);
                let taken = visitors().filter(|visitor| split.takes(visitor.as_bytes())).count();
                let (count, chance) = (20_000.0, f64::from(share) / 100.0);
                // Five standard deviations: fewer than one canary in a million is outside.
                let deviation = (count * chance * (1.0 - chance)).sqrt();
                let off = (f64::from(u32::try_from(taken).unwrap()) - count * chance).abs();
                assert!(off < 5.0 * deviation, "{share} % by {salt}: {taken}");
            }
        }
    }

    #[test]
    fn a_larger_share_takes_nobody_back() {
        for visitor in visitors().take(2_000) {
            let taken: Vec<bool> =
                (1..=99).map(|share| Split::new("canary", share).takes(visitor.as_bytes())).collect();
            assert!(taken.is_sorted(), "{visitor}");
        }
    }

    #[test]
    fn each_canary_draws_again() {
        let (one, other) = (Split::new("one", 50), Split::new("other", 50));
        let both = visitors().filter(|v| one.takes(v.as_bytes()) && other.takes(v.as_bytes())).count();
        assert!((4_600..5_400).contains(&both), "{both} of 20,000 are in both halves");
    }

    #[test]
    fn the_draw_is_the_same_in_every_release() {
        let taken: Vec<u8> = (1..=99).filter(|share| Split::new("18f3a", *share).takes(b"00112233aabbccdd")).collect();
        assert_eq!(taken.first(), Some(&84), "visitors would move in an upgrade");
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        for (field, expected) in [
            ("a=1; visitor=x; b=2", Some("x")),
            ("visitor=x", Some("x")),
            ("a=1,visitor=x; visitor=y", Some("y")),
            ("a=1, visitor=x", None),
            ("visitor=x; visitor=y", Some("x")),
            ("visitor=", None),
            ("visitors=x; a=visitor=x", None),
            ("", None),
        ] {
            assert_eq!(cookie(field.as_bytes(), "visitor"), expected.map(str::as_bytes), "{field}");
        }
        assert!(is_visitor(b"00112233aabbccdd"));
        for id in ["", "00112233AABBCCDD", "00112233aabbccd", "00112233aabbccddee", "00112233aabbccd;"] {
            assert!(!is_visitor(id.as_bytes()), "{id}");
        }
    }

    proptest! {
        #[test]
        fn a_cookie_is_what_splitting_at_every_semicolon_finds(field in "[ab=;,\" \t:\u{80}-\u{ff}]{0,40}", name in "[ab]{1,3}") {
            let pairs = field.as_bytes().split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let mut values = pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
            let expected = values.next().filter(|value| !value.is_empty());
            prop_assert_eq!(cookie(field.as_bytes(), &name), expected);
        }
    }

    #[test]
    fn the_document_names_every_crawler() {
        let document = include_str!("../../docs/canary.md");
        for name in CRAWLERS {
            let name = std::str::from_utf8(name).unwrap();
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn only_a_browser_that_navigates_is_drawn() {
        let firefox: &[u8] = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let googlebot: &[u8] = b"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
        let html: Option<&[u8]> = Some(b"text/html");
        let navigate: Option<&[u8]> = Some(b"navigate");
        assert!(is_drawn(navigate, Some(b"document"), html, Some(firefox)));
        assert!(is_drawn(None, None, html, Some(firefox)));
        // As driven by tests of a team.
        assert!(is_drawn(navigate, Some(b"document"), html, Some(b"Mozilla/5.0 HeadlessChrome/156.0.0.0")));
        assert!(!is_drawn(None, None, html, Some(googlebot)));
        assert!(!is_drawn(None, None, html, None));
        assert!(!is_drawn(None, None, Some(b"*/*"), Some(b"curl/8.5.0")));
        assert!(!is_drawn(Some(b"cors"), Some(b"empty"), Some(b"*/*"), Some(firefox)));
    }
}
