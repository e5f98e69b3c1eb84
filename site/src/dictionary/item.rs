//! Items of structured fields (RFC 9651) that clients with dictionaries send: one byte sequence, one string.

use std::convert::Infallible;

use devanture_config::Sha256;
use sfv::visitor::{Ignored, ItemVisitor, ParameterVisitor, parameter_visitor_with};
use sfv::{BareItemFromInput, Parser};

/// Maximum characters of a `Dictionary-ID` (RFC 9842 §2.3).
const ID_CHARS_MAX: usize = 1_024;

/// The SHA-256 in a value of `Available-Dictionary`: exactly one byte sequence of 32 bytes. Parameters are ignored.
#[must_use]
pub fn available_dictionary(value: &[u8]) -> Option<Sha256> {
    let BareItemFromInput::ByteSequence(bytes) = item(value)? else { return None };
    <[u8; 32]>::try_from(bytes).ok().map(Sha256::from)
}

/// Returns true if a value of `Dictionary-ID` is well-formed: exactly one string, up to the maximum length. The id is
/// for people who read a request: the hash in `Available-Dictionary` is more precise.
#[must_use]
pub fn is_dictionary_id(value: &[u8]) -> bool {
    matches!(item(value), Some(BareItemFromInput::String(id)) if id.as_str().len() <= ID_CHARS_MAX)
}

/// The item of a field with exactly one. A field with malformed parameters is refused; well-formed parameters are
/// dropped unread.
fn item(value: &[u8]) -> Option<BareItemFromInput<'_>> {
    Parser::new(value).parse_item_with_visitor(BareItem).ok()
}

/// Keeps an item without its parameters, so that a request with many parameters takes no memory for them.
struct BareItem;

impl<'v> ItemVisitor<'v> for BareItem {
    type Out = BareItemFromInput<'v>;
    type Error = Infallible;

    fn bare_item(self, item: BareItemFromInput<'v>) -> Result<impl ParameterVisitor<'v, Out = Self::Out>, Infallible> {
        Ok(parameter_visitor_with(Ignored, |()| Ok(item)))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    /// 32 bytes of 0xff.
    const ONES: &str = "//////////////////////////////////////////8=";

    #[test]
    fn one_byte_sequence_of_32_bytes_names_a_dictionary() {
        #[rustfmt::skip]
        let good = [
            format!(":{ONES}:"), format!("  :{ONES}:  "), format!(":{}:", ONES.trim_end_matches('=')),
            // §4.2.7: surplus bits.
            format!(":{}9=:", &ONES[..42]), format!(":{ONES}:;a"), format!(":{ONES}:; a=1;b;*c=\"x\\\"\\\\\""),
            format!(":{ONES}:;a=-1.5;b=tok/en:*;c=:aGk=:;d=?0;e=@1659578233;f=%\"%c3%bc\";g=*"),
            format!(":{ONES}:;a=999999999999999;a=123456789012.123"),
        ];
        for value in &good {
            assert_eq!(available_dictionary(value.as_bytes()), Some(Sha256::from([0xff; 32])), "{value}");
        }
    }

    #[test]
    fn what_is_malformed_names_none() {
        #[rustfmt::skip]
        let bad = [
            String::new(), "  ".into(), ":".into(), "::".into(), format!(":{ONES}"), format!("{ONES}:"), ONES.into(),
            format!("\"{ONES}\""), "?1".into(), "token".into(), "1".into(),
            // More than one item: two joined lines; and a list.
            format!(":{ONES}:, :{ONES}:"), format!(":{ONES}: :{ONES}:"), format!("(:{ONES}:)"), format!("a=:{ONES}:"),
            // Lengths other than 32 bytes.
            ":aGk=:".into(), format!(":{}:", "A".repeat(42)), format!(":{}:", "A".repeat(44)),
            format!(":{}:", STANDARD.encode([1; 31])), format!(":{}:", STANDARD.encode([1; 33])),
            // Wrong alphabet, wrong padding.
            format!(":{}-:", &ONES[..42]), format!(":{}_=:", &ONES[..42]), format!(":{} =:", &ONES[..42]),
            format!(":{ONES}=:"), format!(":={}:", &ONES[..43]), format!(":{}=/:", &ONES[..42]),
            format!("\t:{ONES}:"), format!(":{ONES}:\t"), format!(":{ONES}:\u{e4}"),
            // The rest counts.
            format!(":{ONES}:;"), format!(":{ONES}:;A=1"), format!(":{ONES}:;1"), format!(":{ONES}: ;a"),
            format!(":{ONES}:;a="), format!(":{ONES}:;a=1."), format!(":{ONES}:;a=-"), format!(":{ONES}:;a=.5"),
            format!(":{ONES}:;a=1234567890123456"), format!(":{ONES}:;a=1234567890123.1"), format!(":{ONES}:;a=1.1234"),
            format!(":{ONES}:;a=\"x"), format!(":{ONES}:;a=\"\\x\""), format!(":{ONES}:;a=?2"), format!(":{ONES}:;a=@1.5"),
            format!(":{ONES}:;a=%\"%C3\""), format!(":{ONES}:;a=%\"%c3\""), format!(":{ONES}:;a=%\"%c\""),
            format!(":{ONES}:;a=:a=b:"), format!(":{ONES}:;a=:a===:"), format!(":{ONES}:;a=(1 2)"), format!(":{ONES}:;a= 1"),
            format!(":{ONES}:,"),
        ];
        for value in &bad {
            assert_eq!(available_dictionary(value.as_bytes()), None, "{value}");
        }
        assert_eq!(available_dictionary(b":\xff:"), None);
    }

    #[test]
    fn one_string_that_is_not_too_long_is_an_id() {
        let quoted = |length: usize| format!("\"{}\"", "x".repeat(length));
        for good in ["\"\"", "\"v1\"", " \"a b\" ", "\"\\\"\\\\\"", "\"v1\";a=1", &quoted(ID_CHARS_MAX)] {
            assert!(is_dictionary_id(good.as_bytes()), "{good}");
        }
        #[rustfmt::skip]
        let bad = [
            "", "v1", "\"v1", "v1\"", "\"\\v\"", "\"\u{fc}\"", "\"\t\"", "\"a\", \"b\"", ":djE=:", "\"a\" b", "\"a\";",
            &quoted(ID_CHARS_MAX + 1),
        ];
        for bad in bad {
            assert!(!is_dictionary_id(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(bytes in any::<[u8; 32]>(), padded in any::<bool>()) {
            let text = STANDARD.encode(bytes);
            let text = if padded { text.as_str() } else { text.trim_end_matches('=') };
            prop_assert_eq!(available_dictionary(format!(":{text}:").as_bytes()), Some(Sha256::from(bytes)));
        }

        #[test]
        fn no_bytes_make_it_panic(value in any::<Vec<u8>>(), tail in "[ -~]{0,40}") {
            let tails = [format!(":{ONES}:;a={tail}"), format!("\"a\";b={tail}")];
            for value in tails.iter().map(String::as_bytes).chain([value.as_slice()]) {
                prop_assert!(available_dictionary(value).is_none() || !is_dictionary_id(value));
            }
        }
    }
}
