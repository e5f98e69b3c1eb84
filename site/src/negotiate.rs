//! Negotiates the variant of a file: `Accept-Encoding` against the stored encodings (RFC 9110 §12.5.3).

use std::borrow::Borrow;

use super::fields::{members, trimmed};

/// The content coding of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coding {
    /// No coding.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878), with a window of at most 8 MiB (RFC 9659).
    Zstd,
    /// Brotli (RFC 7932).
    Br,
    /// Brotli with a dictionary that the client has (RFC 9842 §4).
    Dcb,
    /// Zstandard with a dictionary that the client has (RFC 9842 §5).
    Dcz,
}

impl Coding {
    /// All codings for clients without a dictionary, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Gzip, Self::Zstd, Self::Br];
    /// All codings, in the same order.
    const NAMED: [Self; 6] = [Self::Identity, Self::Gzip, Self::Zstd, Self::Br, Self::Dcb, Self::Dcz];

    /// The name in `Content-Encoding`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Dcb => "dcb",
            Self::Dcz => "dcz",
        }
    }

    /// The file ending of the coding; identity has an empty ending.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Identity => "",
            Self::Gzip => "gz",
            Self::Zstd => "zst",
            Self::Br => "br",
            Self::Dcb => "dcb",
            Self::Dcz => "dcz",
        }
    }

    /// The path of the plain file that the file at `path` encodes, by its name; `None` for a plain file.
    #[must_use]
    pub fn plain_path(path: &str) -> Option<&str> {
        let (plain, ending) = path.rsplit_once('.')?;
        let is_coding = Self::ALL.iter().any(|coding| *coding != Self::Identity && coding.suffix() == ending);
        is_coding.then_some(plain)
    }

    /// The coding of a name, in any case; `x-gzip` is an old name of gzip (RFC 9110 §8.4.1.3).
    fn named(name: &[u8]) -> Option<Self> {
        // As browsers write the names.
        match name {
            b"gzip" => return Some(Self::Gzip),
            b"br" => return Some(Self::Br),
            b"zstd" => return Some(Self::Zstd),
            b"deflate" => return None,
            _ => {}
        }
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::NAMED.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }
}

/// A weight in steps of half a thousandth; 0 is "not acceptable".
type Weight = u16;

/// The weight of identity if the field does not name identity: acceptable, but less than any named coding.
const UNSAID: Weight = 1;
const WEIGHT_MAX: Weight = 2_000;

/// The weights of a client for each coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acceptable {
    identity: Weight,
    gzip: Weight,
    zstd: Weight,
    br: Weight,
    dcb: Weight,
    dcz: Weight,
}

impl Acceptable {
    /// Parses `Accept-Encoding`; malformed members and unknown codings are skipped.
    ///
    /// Without the field every coding is permitted, but the client's decoders are unknown, so only identity is sent.
    /// For a coding named more than once the least weight counts: a client that refused a coding anywhere is not sent
    /// the coding.
    #[must_use]
    pub fn parse(accept_encoding: Option<&[u8]>) -> Self {
        accept_encoding.and_then(Self::usual).unwrap_or_else(|| Self::read(accept_encoding))
    }

    /// Values of common clients, which need no parsing.
    fn usual(accept_encoding: &[u8]) -> Option<Self> {
        let gzip = Self { identity: UNSAID, gzip: WEIGHT_MAX, zstd: 0, br: 0, dcb: 0, dcz: 0 };
        let all = Self { br: WEIGHT_MAX, zstd: WEIGHT_MAX, ..gzip };
        match accept_encoding {
            b"gzip" | b"gzip, deflate" => Some(gzip),
            b"gzip, deflate, br" => Some(Self { br: WEIGHT_MAX, ..gzip }),
            b"gzip, deflate, br, zstd" => Some(all),
            b"gzip, deflate, br, zstd, dcb, dcz" => Some(Self { dcb: WEIGHT_MAX, dcz: WEIGHT_MAX, ..all }),
            _ => None,
        }
    }

    fn read(accept_encoding: Option<&[u8]>) -> Self {
        let mut weights = [None; Coding::NAMED.len()];
        let mut others = None;
        for member in members(accept_encoding.unwrap_or_default()) {
            let Some((name, weight)) = parse_member(member) else { continue };
            let place = if name == b"*" {
                Some(&mut others)
            } else {
                Coding::named(name).and_then(|coding| weights.get_mut(coding as usize))
            };
            if let Some(place) = place {
                *place = Some(place.map_or(weight, |before: Weight| before.min(weight)));
            }
        }
        let [identity, gzip, zstd, br, dcb, dcz] = weights;
        Self {
            // §12.5.3, rule 2: identity is acceptable unless named.
            identity: identity.or(others).unwrap_or(UNSAID),
            gzip: gzip.or(others).unwrap_or(0),
            zstd: zstd.or(others).unwrap_or(0),
            br: br.or(others).unwrap_or(0),
            // Only a client that names these codings has dictionaries; `*` does not include them.
            dcb: dcb.unwrap_or(0),
            dcz: dcz.unwrap_or(0),
        }
    }

    /// Returns true if the client accepts the coding.
    #[must_use]
    pub fn takes(&self, coding: Coding) -> bool {
        self.weight(coding) > 0
    }

    /// The index in `available` of the variant to send: the greatest weight, then the fewest bytes, then the first. If
    /// no variant is acceptable, identity is sent nevertheless: a page that can perhaps be read is better than a 406,
    /// and RFC 9110 §12.5.3 permits both.
    #[must_use]
    pub fn choose<I>(&self, available: I) -> usize
    where
        I: IntoIterator<Item: Borrow<(Coding, u64)>, IntoIter: Clone>,
    {
        let available = available.into_iter();
        let mut best: Option<(usize, Weight, u64)> = None;
        for (place, available) in available.clone().enumerate() {
            let (coding, bytes) = *available.borrow();
            let weight = self.weight(coding);
            let is_better = best.is_none_or(|(_, most, fewest)| weight > most || (weight == most && bytes < fewest));
            if weight > 0 && is_better {
                best = Some((place, weight, bytes));
            }
        }
        let identity = || available.clone().position(|available| available.borrow().0 == Coding::Identity);
        best.map(|(place, ..)| place).or_else(identity).unwrap_or(0)
    }

    /// The delta of `deltas`, all made with the client's dictionary, to send instead of `plain`, as selected by
    /// [`Acceptable::choose`] among all. `None` if `plain` is selected.
    #[must_use]
    pub fn delta_instead(
        &self,
        plain: (Coding, u64),
        deltas: impl IntoIterator<Item = (Coding, u64)>,
    ) -> Option<usize> {
        let mut best = (self.weight(plain.0), plain.1);
        let mut chosen = None;
        for (place, (coding, bytes)) in deltas.into_iter().enumerate() {
            let weight = self.weight(coding);
            if weight > 0 && (weight > best.0 || (weight == best.0 && bytes < best.1)) {
                best = (weight, bytes);
                chosen = Some(place);
            }
        }
        chosen
    }

    fn weight(&self, coding: Coding) -> Weight {
        match coding {
            Coding::Identity => self.identity,
            Coding::Gzip => self.gzip,
            Coding::Zstd => self.zstd,
            Coding::Br => self.br,
            Coding::Dcb => self.dcb,
            Coding::Dcz => self.dcz,
        }
    }
}

/// The index in `available` of the variant to send; see [`Acceptable::choose`]. 0 for an empty list.
#[must_use]
pub fn choose<I>(accept_encoding: Option<&[u8]>, available: I) -> usize
where
    I: IntoIterator<Item: Borrow<(Coding, u64)>, IntoIter: ExactSizeIterator + Clone>,
{
    let available = available.into_iter();
    // Most media has no other variant.
    if available.len() < 2 { 0 } else { Acceptable::parse(accept_encoding).choose(available) }
}

/// `codings [ weight ]` of RFC 9110 §12.5.3; `None` is malformed.
fn parse_member(member: &[u8]) -> Option<(&[u8], Weight)> {
    let Some(semicolon) = member.iter().position(|&byte| byte == b';') else { return Some((member, WEIGHT_MAX)) };
    let (name, parameter) = member.split_at_checked(semicolon)?;
    let [b'q' | b'Q', b'=', value @ ..] = trimmed(parameter.get(1..)?) else { return None };
    Some((trimmed(name), parse_weight(value)?))
}

/// `qvalue` of RFC 9110 §12.4.2.
fn parse_weight(value: &[u8]) -> Option<Weight> {
    let (whole, digits) = match value {
        [whole @ (b'0' | b'1')] => (*whole, [].as_slice()),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (*whole, digits),
        _ => return None,
    };
    let mut thousandths = 0;
    let mut step = 100;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths += Weight::from(digit - b'0') * step;
        step /= 10;
    }
    match (whole, thousandths) {
        (b'1', 0) => Some(WEIGHT_MAX),
        (b'1', _) => None,
        _ => Some(thousandths * 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: &[(Coding, u64)] =
        &[(Coding::Identity, 1000), (Coding::Gzip, 300), (Coding::Zstd, 280), (Coding::Br, 250)];

    fn chosen(accept: Option<&str>, available: &[(Coding, u64)]) -> &'static str {
        available[choose(accept.map(str::as_bytes), available)].0.as_str()
    }

    #[test]
    fn the_greatest_weight_wins_and_then_the_fewest_bytes() {
        #[rustfmt::skip]
        let cases = [
            (None,                                       "identity"), // RFC 9110 §12.5.3, rule 1
            (Some(""),                                   "identity"), // §12.5.3: an empty value
            (Some("gzip"),                               "gzip"),
            (Some("x-gzip"),                             "gzip"),     // §8.4.1.3
            (Some("GZip"),                               "gzip"),     // §8.4.1: case-insensitive
            (Some("deflate"),                            "identity"),
            (Some("compress, x-compress, dcb, dcz"),     "identity"),
            (Some("gzip, deflate, br"),                  "br"),
            (Some("gzip, deflate, br, zstd"),            "br"),
            (Some("gzip, zstd"),                         "zstd"),
            (Some("gzip;q=1.0, br;q=0.9"),               "gzip"),
            (Some("gzip;q=0.5, br;q=0.501"),             "br"),
            (Some("br;q=0.001"),                         "br"),       // named, so preferred to identity, which is unnamed
            (Some("br;q=0"),                             "identity"),
            (Some("br;q=0.000, gzip"),                   "gzip"),
            (Some("identity"),                           "identity"),
            (Some("identity, br"),                       "br"),
            (Some("identity;q=1, br;q=0.5"),             "identity"),
            (Some("identity;q=0.5, br;q=0.2"),           "identity"),
            (Some("identity;q=0, gzip;q=0.1"),           "gzip"),
            (Some("*"),                                  "br"),       // §12.5.3: `*` is what is not named
            (Some("*;q=0"),                              "identity"), // no acceptable variant, and no 406
            (Some("*;q=0, gzip"),                        "gzip"),
            (Some("*, br;q=0"),                          "zstd"),
            (Some("gzip, *;q=0.5"),                      "gzip"),
            (Some("gzip;q=0.5, *"),                      "br"),
            (Some("identity;q=0, *;q=0"),                "identity"),
            (Some("identity;q=0"),                       "identity"),
            (Some("br ; q=0.3 ,\tgzip;Q=0.4"),           "gzip"),     // §5.6.3: white space; §12.4.2: any case
            (Some(",, br,"),                             "br"),       // §5.6.1.2: empty members
            (Some("br;q=2, gzip"),                       "gzip"),     // malformed parts do not count
            (Some("br;q=1.001, gzip"),                   "gzip"),
            (Some("br;q=0.1234, gzip;q=0.1"),            "gzip"),
            (Some("br;q=.5, gzip;q=0.1"),                "gzip"),
            (Some("br;q=-1, gzip;q=0.1"),                "gzip"),
            (Some("br;q=, gzip;q=0.1"),                  "gzip"),
            (Some("br;x=1, gzip;q=0.1"),                 "gzip"),
            (Some("br;q=0.5;x=1, gzip;q=0.1"),           "gzip"),
            (Some("br;q=1., gzip;q=0.9"),                "br"),       // §12.4.2: digits are optional
            (Some("br gzip"),                            "identity"),
            (Some("br, br;q=0"),                         "identity"), // a refusal anywhere counts
        ];
        for (accept, expected) in cases {
            assert_eq!(chosen(accept, ALL), expected, "{accept:?}");
        }
    }

    #[test]
    fn what_the_usual_clients_say_is_what_would_be_read() {
        for usual in [
            "gzip",
            "gzip, deflate",
            "gzip, deflate, br",
            "gzip, deflate, br, zstd",
            "gzip, deflate, br, zstd, dcb, dcz",
        ] {
            let read = Acceptable::read(Some(usual.as_bytes()));
            assert_eq!(Acceptable::usual(usual.as_bytes()), Some(read), "{usual}");
        }
    }

    #[test]
    fn what_is_there_limits_the_choice() {
        assert_eq!(choose(Some(b"gzip"), [(Coding::Br, 1); 0]), 0);
        assert_eq!(choose(Some(b"identity;q=0"), [(Coding::Identity, 1)]), 0);
        assert_eq!(choose(Some(b"identity;q=0"), [(Coding::Br, 1), (Coding::Identity, 1)]), 1);
        assert_eq!(choose(Some(b"br"), [(Coding::Identity, 1), (Coding::Gzip, 1)]), 0);
        // Equal bytes: the first.
        assert_eq!(choose(Some(b"br, gzip"), [(Coding::Identity, 9), (Coding::Gzip, 1), (Coding::Br, 1)]), 1);
        // A coding with a larger result, at equal weights.
        assert_eq!(choose(Some(b"identity, gzip"), [(Coding::Identity, 1), (Coding::Gzip, 9)]), 0);
    }

    #[test]
    fn a_delta_is_sent_where_it_is_accepted_and_liked_as_much() {
        const DELTAS: [(Coding, u64); 2] = [(Coding::Dcb, 20), (Coding::Dcz, 30)];
        #[rustfmt::skip]
        let cases = [
            (Some("gzip, deflate, br, zstd, dcb, dcz"),  Some(Coding::Dcb)),
            (Some("gzip, br, zstd, dcz"),                Some(Coding::Dcz)),
            (Some("gzip, br, DCB"),                      Some(Coding::Dcb)),
            (Some("gzip, br, dcb;q=0.5, dcz"),           Some(Coding::Dcz)),
            (Some("br, dcb;q=0, dcz"),                   Some(Coding::Dcz)),
            (Some("br, dcb, dcz;q=0.9, dcb;q=0"),        None),
            (Some("br;q=0.1, dcb, dcz;q=0.9, dcb;q=0"),  Some(Coding::Dcz)),
            (Some("dcb;q=0.001"),                        Some(Coding::Dcb)),
            (Some("dcb;q=2, dcz;q"),                     None),
            (Some("gzip, dcb;q=0.5"),                    None),
            (Some("br, dcb;q=0, dcz;q=0"),               None),
            (Some("*"),                                  None),
            (Some("br, *;q=1"),                          None),
            (Some("identity"),                           None),
            (Some("gzip, deflate, br, zstd"),            None),
            (Some(""),                                   None),
            (None,                                       None),
        ];
        for (accept, expected) in cases {
            let acceptable = Acceptable::parse(accept.map(str::as_bytes));
            let plain = ALL[acceptable.choose(ALL)];
            let chosen = acceptable.delta_instead(plain, DELTAS).map(|place| DELTAS[place].0);
            assert_eq!(chosen, expected, "{accept:?}");
        }
        let acceptable = Acceptable::parse(Some(b"br, dcb"));
        assert_eq!(acceptable.delta_instead((Coding::Br, 20), DELTAS), None, "nothing would be saved");
        assert_eq!(acceptable.delta_instead((Coding::Br, 250), []), None);
    }

    #[test]
    fn bytes_that_are_not_ascii_hide_nothing() {
        assert_eq!(choose(Some(b"\xff\xfe;q=1, br"), ALL), 3);
    }

    proptest! {
        #[test]
        fn nothing_refused_is_sent_while_something_is_acceptable(
            accept in "((gzip|br|zstd|identity|\\*)(;q=(0|1|0\\.[0-9]{1,3}))?(, )?){0,6}",
        ) {
            let acceptable = Acceptable::parse(Some(accept.as_bytes()));
            let (coding, _) = ALL[acceptable.choose(ALL)];
            let any = ALL.iter().any(|&(coding, _)| acceptable.takes(coding));
            prop_assert!(acceptable.takes(coding) || (!any && coding == Coding::Identity), "{}", accept);
        }

        #[test]
        fn no_bytes_make_it_panic(accept in any::<Vec<u8>>(), sizes in any::<[u64; 4]>()) {
            let available: Vec<_> = Coding::ALL.into_iter().zip(sizes).collect();
            prop_assert!(choose(Some(&accept), &available) < available.len());
        }
    }
}
