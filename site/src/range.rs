//! Parts of a file: `Range` for a file's length, and the form of a response with several parts (RFC 9110 §14).
//!
//! Only GET has ranges; for any other method the field is ignored (§14.2). The field is evaluated after the
//! preconditions, including `If-Range`, and its numbers refer to the negotiated variant.

use std::fmt::Write as _;

use super::fields::{members, trimmed};

/// Maximum parts of one request; a client that requests more gets the whole (§14.2 permits both).
pub const RANGES_MAX: usize = 32;

/// The first and the last byte of a part, both inclusive.
pub type Span = (u64, u64);

/// The requested parts of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeOutcome {
    /// 206 with `Content-Range`.
    One(u64, u64),
    /// 206 with `multipart/byteranges`, in the requested order, without overlaps.
    Several(Vec<Span>),
    /// 416 with [`unsatisfied`].
    Unsatisfiable,
    /// 200: no range, another unit, or a malformed range.
    Whole,
}

/// Parses `Range` for a file of `length` bytes.
#[must_use]
pub fn parse(range: Option<&[u8]>, length: u64) -> RangeOutcome {
    let Some(set) = range.and_then(byte_range_set) else { return RangeOutcome::Whole };
    let mut spans = Vec::new();
    let mut first = None;
    let mut count = 0;
    for member in members(set) {
        count += 1;
        let Some(wanted) = parse_spec(member) else { return RangeOutcome::Whole };
        if count > RANGES_MAX {
            return RangeOutcome::Whole;
        }
        match (wanted.within(length), first) {
            (Within::Nothing, _) => {}
            // An empty file is sent as a whole, since no Content-Range can describe its range.
            (Within::EmptyFile, _) => return RangeOutcome::Whole,
            (Within::Span(span), None) => first = Some(span),
            (Within::Span(span), Some(first)) => {
                if spans.is_empty() {
                    spans.push(first);
                }
                spans.push(span);
            }
        }
    }
    match first {
        _ if count == 0 => RangeOutcome::Whole,
        None => RangeOutcome::Unsatisfiable,
        // The usual case: one range, without an allocation.
        Some((start, end)) if spans.is_empty() => RangeOutcome::One(start, end),
        Some(_) => {
            coalesce(&mut spans);
            match spans.as_slice() {
                [(start, end)] => RangeOutcome::One(*start, *end),
                _ => RangeOutcome::Several(spans),
            }
        }
    }
}

/// `Content-Range` of a part (RFC 9110 §14.4).
#[must_use]
pub fn content_range(span: Span, length: u64) -> String {
    format!("bytes {}-{}/{length}", span.0, span.1)
}

/// `Content-Range` of a 416 (RFC 9110 §14.4).
#[must_use]
pub fn unsatisfied(length: u64) -> String {
    format!("bytes */{length}")
}

/// The text after `bytes=`; the name of the unit is case-insensitive (RFC 9110 §14.1).
fn byte_range_set(value: &[u8]) -> Option<&[u8]> {
    let value = trimmed(value);
    let equals = value.iter().position(|&byte| byte == b'=')?;
    let (unit, set) = value.split_at_checked(equals)?;
    if unit.eq_ignore_ascii_case(b"bytes") { set.get(1..) } else { None }
}

/// One `range-spec`.
#[derive(Clone, Copy)]
enum Wanted {
    /// From a byte to another, or to the end.
    From(u64, u64),
    /// A number of bytes at the end.
    Last(u64),
}

/// The part of a file of a given length.
enum Within {
    EmptyFile,
    Nothing,
    Span(Span),
}

impl Wanted {
    fn within(self, length: u64) -> Within {
        match (self, length.checked_sub(1)) {
            // RFC 9110 §14.1.2: a suffix of 0 bytes cannot be satisfied, any other always can.
            (Self::Last(0), _) | (Self::From(..), None) => Within::Nothing,
            (Self::Last(_), None) => Within::EmptyFile,
            (Self::Last(count), Some(last)) => Within::Span((length.saturating_sub(count), last)),
            (Self::From(start, _), Some(last)) if start > last => Within::Nothing,
            (Self::From(start, end), Some(last)) => Within::Span((start, end.min(last))),
        }
    }
}

/// `int-range` and `suffix-range` of RFC 9110 §14.1.2; `None` is malformed.
fn parse_spec(spec: &[u8]) -> Option<Wanted> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (start, end) = spec.split_at_checked(dash)?;
    match (start, end.get(1..)?) {
        ([], count) => Some(Wanted::Last(number(count)?)),
        (start, []) => Some(Wanted::From(number(start)?, u64::MAX)),
        (start, end) => {
            let (start, end) = (number(start)?, number(end)?);
            (start <= end).then_some(Wanted::From(start, end))
        }
    }
}

/// `1*DIGIT`; a number too large for any file saturates.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(10)?;
        Some(number.saturating_mul(10).saturating_add(u64::from(digit)))
    })
}

/// Merges overlapping parts at the position of the earlier part (RFC 9110 §15.3.7.2), so that no byte is sent twice.
fn coalesce(spans: &mut Vec<Span>) {
    let mut apart: Vec<Span> = Vec::with_capacity(spans.len());
    for &span in spans.iter() {
        let overlaps = |other: &Span| other.0 <= span.1 && span.0 <= other.1;
        let place = apart.iter().position(overlaps).unwrap_or(apart.len());
        // The preceding parts do not overlap, so the merged part touches no further part.
        let whole = apart
            .iter()
            .filter(|&other| overlaps(other))
            .fold(span, |whole, other| (whole.0.min(other.0), whole.1.max(other.1)));
        apart.retain(|other| !overlaps(other));
        apart.insert(place, whole);
    }
    *spans = apart;
}

/// A boundary that does not occur in the file: made of the entity tag, a hash of the very same bytes, which cannot have
/// been inserted among them.
#[must_use]
pub fn boundary(etag: &str) -> String {
    // RFC 2046 §5.1.1: at most 70 characters; these need no quotes.
    let tag = etag.chars().filter(char::is_ascii_alphanumeric).take(52);
    "part-".chars().chain(tag).collect()
}

/// A response with several parts (RFC 9110 §14.6, RFC 2046 §5.1).
#[derive(Debug, Clone, Copy)]
pub struct Multipart<'a> {
    /// The delimiter of parts, see [`boundary`].
    pub boundary: &'a str,
    /// The media type of the file.
    pub content_type: &'a str,
    /// The length of the file, or variant.
    pub length: u64,
}

impl Multipart<'_> {
    /// The media type of the whole response.
    #[must_use]
    pub fn media_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// The part head before the bytes of `span`, for the first or a later part.
    #[must_use]
    pub fn part_head(&self, is_first: bool, span: Span) -> String {
        let mut head = String::with_capacity(160);
        if !is_first {
            head.push_str("\r\n");
        }
        let (boundary, media_type, range) = (self.boundary, self.content_type, content_range(span, self.length));
        // Writing to a `String` cannot fail.
        write!(head, "--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range}\r\n\r\n")
            .unwrap_or_default();
        head
    }

    /// The closing delimiter.
    #[must_use]
    pub fn end(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }

    /// The length of the whole response.
    #[must_use]
    pub fn body_bytes(&self, spans: &[Span]) -> u64 {
        let count = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX);
        let mut bytes = count(&self.end());
        for (place, &(start, end)) in spans.iter().enumerate() {
            let part = end.saturating_sub(start).saturating_add(1);
            bytes = bytes.saturating_add(part).saturating_add(count(&self.part_head(place == 0, (start, end))));
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;

    #[test]
    fn a_range_is_read_for_a_length() {
        use RangeOutcome::{One, Several, Unsatisfiable, Whole};
        #[rustfmt::skip]
        let cases = [
            // One range of a file of 100 bytes: RFC 9110 §14.1.2.
            ("bytes=0-49",              One(0, 49)),
            ("bytes=50-",               One(50, 99)),
            ("bytes=-10",               One(90, 99)),
            ("bytes=0-",                One(0, 99)),
            ("bytes=0-0",               One(0, 0)),
            ("bytes=99-99",             One(99, 99)),
            ("bytes=90-200",            One(90, 99)),
            ("bytes=-200",              One(0, 99)),
            ("bytes=0-99999999999999999999999", One(0, 99)),
            ("Bytes=0-9",               One(0, 9)),         // §14.1: unit names in any case
            ("  bytes=0-9 ",            One(0, 9)),
            ("bytes= 0-9 ,",            One(0, 9)),         // §5.6.1: white space, empty members
            ("bytes=007-9",             One(7, 9)),
            // Not satisfiable: §15.5.17.
            ("bytes=100-",              Unsatisfiable),
            ("bytes=100-200",           Unsatisfiable),
            ("bytes=-0",                Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=100-, 200-300, -0", Unsatisfiable),
            // Ignored: §14.2.
            ("",                        Whole),
            ("bytes",                   Whole),
            ("bytes=",                  Whole),
            ("bytes=,",                 Whole),
            ("bytes=-",                 Whole),
            ("bytes=9-0",               Whole),
            ("bytes=a-b",               Whole),
            ("bytes=0x0-9",             Whole),
            ("bytes=+0-9",              Whole),
            ("bytes=0-9-",              Whole),
            ("bytes=0--9",              Whole),
            ("bytes=--9",               Whole),
            ("bytes=0 - 9",             Whole),
            ("bytes =0-9",              Whole),
            ("bytes 0-9",               Whole),
            ("bytes=0-9;1-2",           Whole),
            ("bytes=0-9, x",            Whole),
            ("bytes=0-9, 9-0",          Whole),
            ("bytes=0-1, bytes=2-3",    Whole),             // two lines, joined
            ("items=0-9",               Whole),
            ("seconds=0-9",             Whole),
            // Several: §14.1.2 and §15.3.7.2.
            ("bytes=0-9,20-29",         Several(vec![(0, 9), (20, 29)])),
            ("bytes=20-29 , 0-9",       Several(vec![(20, 29), (0, 9)])),
            ("bytes=0-0,-1",            Several(vec![(0, 0), (99, 99)])),
            ("bytes=0-9,10-19",         Several(vec![(0, 9), (10, 19)])),
            ("bytes=0-9,100-,20-29",    Several(vec![(0, 9), (20, 29)])),
            ("bytes=0-9,100-",          One(0, 9)),
            ("bytes=100-,0-9",          One(0, 9)),
            ("bytes=0-9,5-14",          One(0, 14)),
            ("bytes=0-,0-,0-",          One(0, 99)),
            ("bytes=0-9,20-29,5-24",    One(0, 29)),
            ("bytes=50-59,0-9,55-70",   Several(vec![(50, 70), (0, 9)])),
            ("bytes=50-59,0-9,5-6",     Several(vec![(50, 59), (0, 9)])),
        ];
        for (value, expected) in cases {
            assert_eq!(parse(Some(value.as_bytes()), 100), expected, "{value}");
        }
        assert_eq!(parse(None, 100), Whole);
    }

    #[test]
    fn an_empty_file_has_no_part() {
        for (value, expected) in [
            ("bytes=0-", RangeOutcome::Unsatisfiable),
            ("bytes=0-0", RangeOutcome::Unsatisfiable),
            ("bytes=-0", RangeOutcome::Unsatisfiable),
            ("bytes=-5", RangeOutcome::Whole),
        ] {
            assert_eq!(parse(Some(value.as_bytes()), 0), expected, "{value}");
        }
        assert_eq!(unsatisfied(0), "bytes */0");
    }

    #[test]
    fn an_abusive_set_gets_the_whole() {
        let set = |count: usize| (0..count).map(|n| format!("{}-{}", 2 * n, 2 * n)).collect::<Vec<_>>().join(",");
        let outcome = |count| parse(Some(format!("bytes={}", set(count)).as_bytes()), 100_000);
        assert!(matches!(outcome(RANGES_MAX), RangeOutcome::Several(spans) if spans.len() == RANGES_MAX));
        assert_eq!(outcome(RANGES_MAX + 1), RangeOutcome::Whole);
    }

    #[test]
    fn the_parts_stand_between_boundaries() {
        let boundary = boundary("\"4f2a91bc\"");
        let parts = Multipart { boundary: &boundary, content_type: "text/plain", length: 100 };
        let spans = [(0, 1), (98, 99)];
        let body =
            [parts.part_head(true, spans[0]), "ab".into(), parts.part_head(false, spans[1]), "yz".into(), parts.end()]
                .concat();
        let expected = "--part-4f2a91bc\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/100\r\n\r\nab\r\n\
            --part-4f2a91bc\r\nContent-Type: text/plain\r\nContent-Range: bytes 98-99/100\r\n\r\nyz\r\n\
            --part-4f2a91bc--\r\n";
        assert_eq!(body, expected);
        assert_eq!(parts.body_bytes(&spans), expected.len() as u64);
        assert_eq!(parts.media_type(), "multipart/byteranges; boundary=part-4f2a91bc");
    }

    fn sets() -> impl Strategy<Value = String> {
        let spec = prop_oneof![
            (0..60_u64, 0..60_u64).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            (0..60_u64).prop_map(|a| format!("{a}-")),
            (0..60_u64).prop_map(|a| format!("-{a}")),
        ];
        proptest::collection::vec(spec, 1..10).prop_map(|specs| format!("bytes={}", specs.join(",")))
    }

    proptest! {
        #[test]
        fn every_byte_that_was_requested_goes_out_once(set in sets(), length in 0..50_u64) {
            let wanted = |byte: u64| set["bytes=".len()..].split(',').any(|spec| match spec.split_once('-').unwrap() {
                ("", count) => byte >= length.saturating_sub(count.parse().unwrap()),
                (start, "") => byte >= start.parse().unwrap(),
                (start, end) => (start.parse().unwrap()..=end.parse().unwrap()).contains(&byte),
            });
            let spans = match parse(Some(set.as_bytes()), length) {
                RangeOutcome::One(start, end) => vec![(start, end)],
                RangeOutcome::Several(spans) => {
                    prop_assert!(spans.len() > 1);
                    spans
                }
                RangeOutcome::Unsatisfiable => vec![],
                RangeOutcome::Whole => {
                    prop_assert_eq!(length, 0);
                    vec![]
                }
            };
            for &(start, end) in &spans {
                prop_assert!(start <= end && end < length);
            }
            for byte in 0..length {
                let count = spans.iter().filter(|(start, end)| (*start..=*end).contains(&byte)).count();
                prop_assert_eq!(count, usize::from(wanted(byte)), "{} of {} in {:?}", byte, set, spans);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(value in any::<Vec<u8>>(), length in any::<u64>()) {
            black_box(parse(Some(&value), length));
            let prefixed = [b"bytes=".as_slice(), &value].concat();
            black_box(parse(Some(&prefixed), length));
        }
    }
}
