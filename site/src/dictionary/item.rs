//! Items of structured fields (RFC 9651 §4.2.3), as far as dictionaries need them: one byte sequence, one string.

use devanture_config::Sha256;

/// Most characters of a `Dictionary-ID` (RFC 9842 §2.3).
const ID_CHARS_MAX: usize = 1_024;
/// Characters of base64 for 32 bytes, padding left out.
const SHA256_CHARS: usize = 43;
/// Characters of an integer, and of the parts of a decimal (RFC 9651 §3.3.1 and §3.3.2).
const INTEGER_DIGITS_MAX: usize = 15;
const WHOLE_DIGITS_MAX: usize = 12;
const FRACTION_DIGITS_MAX: usize = 3;

/// The SHA-256 in a value of `Available-Dictionary`: exactly one byte sequence of 32 bytes. Its parameters mean
/// nothing.
#[must_use]
pub fn available_dictionary(value: &[u8]) -> Option<Sha256> {
    let mut input = Input::new(value);
    let text = input.byte_sequence()?;
    input.parameters()?;
    input.end()?;
    sha256(text)
}

/// Whether a value of `Dictionary-ID` is well formed: exactly one string, of so many characters at the most. What it
/// says is for people who read a request: the hash in `Available-Dictionary` tells more.
#[must_use]
pub fn is_dictionary_id(value: &[u8]) -> bool {
    let mut input = Input::new(value);
    let length = input.string();
    let rest = input.parameters().and_then(|()| input.end());
    rest.is_some() && length.is_some_and(|length| length <= ID_CHARS_MAX)
}

/// The 32 bytes that base64 stands for; RFC 9651 §4.2.7 has missing padding and bits that are left over pass.
fn sha256(text: &[u8]) -> Option<Sha256> {
    let digits = text.strip_suffix(b"=").unwrap_or(text);
    if digits.len() != SHA256_CHARS {
        return None;
    }
    let mut bytes = [0; 32];
    let mut left = bytes.iter_mut();
    let (mut bits, mut count) = (0_u32, 0_u32);
    for digit in digits {
        bits = (bits << 6) | u32::from(sextet(*digit)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            let [.., byte] = (bits >> count).to_be_bytes();
            *left.next()? = byte;
        }
    }
    Some(Sha256::from(bytes))
}

/// RFC 4648 §4.
const fn sextet(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// The unread input.
struct Input<'v>(&'v [u8]);

impl<'v> Input<'v> {
    /// §4.2: spaces before are passed over.
    fn new(value: &'v [u8]) -> Self {
        let mut input = Self(value);
        input.spaces();
        input
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[wanted])?;
        Some(())
    }

    /// As many bytes as are of a kind.
    fn take_while(&mut self, is: impl Fn(u8) -> bool) -> &'v [u8] {
        let end = self.0.iter().position(|byte| !is(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(end).unwrap_or_default();
        self.0 = rest;
        taken
    }

    fn spaces(&mut self) {
        self.take_while(|byte| byte == b' ');
    }

    /// §4.2: nothing but spaces may be left.
    fn end(&mut self) -> Option<()> {
        self.spaces();
        self.0.is_empty().then_some(())
    }

    /// §4.2.7, what stands between the colons.
    fn byte_sequence(&mut self) -> Option<&'v [u8]> {
        self.take(b':')?;
        let text = self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.take(b':')?;
        Some(text)
    }

    /// §4.2.5; the number of its characters.
    fn string(&mut self) -> Option<usize> {
        self.take(b'"')?;
        let mut length = 0;
        loop {
            match self.next()? {
                b'"' => return Some(length),
                b'\\' if !matches!(self.next()?, b'"' | b'\\') => return None,
                b'\\' | b' '..=b'~' => length += 1,
                _ => return None,
            }
        }
    }

    /// §4.2.3.2: read, since what follows counts, and forgotten.
    fn parameters(&mut self) -> Option<()> {
        while self.take(b';').is_some() {
            self.spaces();
            let is_key = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*');
            match self.take_while(is_key) {
                [b'a'..=b'z' | b'*', ..] => {}
                _ => return None,
            }
            if self.take(b'=').is_some() {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// §4.2.3.1, of any type.
    fn bare_item(&mut self) -> Option<()> {
        match self.0.first()? {
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b'"' => self.string().map(drop),
            b':' => {
                let text = self.byte_sequence()?;
                // Padding is at the end.
                let digits = text.iter().rposition(|digit| *digit != b'=').map_or(0, |last| last + 1);
                let is_base64 = text.get(..digits)?.iter().all(|digit| *digit != b'=') && text.len() - digits < 3;
                is_base64.then_some(())
            }
            b'?' => {
                self.take(b'?')?;
                matches!(self.next()?, b'0' | b'1').then_some(())
            }
            b'@' => {
                self.take(b'@')?;
                // §4.2.9: a date is an integer.
                self.number()?.then_some(())
            }
            b'%' => self.display_string(),
            first if first.is_ascii_alphabetic() || *first == b'*' => {
                self.take_while(is_of_token);
                Some(())
            }
            _ => None,
        }
    }

    /// §4.2.4; whether it is an integer.
    fn number(&mut self) -> Option<bool> {
        self.take(b'-');
        let whole = self.take_while(|byte| byte.is_ascii_digit()).len();
        if self.take(b'.').is_none() {
            return (1..=INTEGER_DIGITS_MAX).contains(&whole).then_some(true);
        }
        let fraction = self.take_while(|byte| byte.is_ascii_digit()).len();
        let fits = (1..=WHOLE_DIGITS_MAX).contains(&whole) && (1..=FRACTION_DIGITS_MAX).contains(&fraction);
        fits.then_some(false)
    }

    /// §4.2.10.
    fn display_string(&mut self) -> Option<()> {
        self.take(b'%')?;
        self.take(b'"')?;
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => return str::from_utf8(&text).is_ok().then_some(()),
                b'%' => {
                    let mut hex = || {
                        let digit = self.next().filter(|digit| !digit.is_ascii_uppercase())?;
                        char::from(digit).to_digit(16)
                    };
                    let byte = hex()? * 16 + hex()?;
                    text.push(u8::try_from(byte).ok()?);
                }
                byte @ b' '..=b'~' => text.push(byte),
                _ => return None,
            }
        }
    }
}

/// §3.3.4: `tchar`, `:` and `/`.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    /// Of 32 bytes of 0xff.
    const ONES: &str = "//////////////////////////////////////////8=";

    #[test]
    fn one_byte_sequence_of_32_bytes_names_a_dictionary() {
        #[rustfmt::skip]
        let good = [
            format!(":{ONES}:"), format!("  :{ONES}:  "), format!(":{}:", ONES.trim_end_matches('=')),
            // §4.2.7: bits that are left over.
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
            // Not one: two lines come joined like this; and a list.
            format!(":{ONES}:, :{ONES}:"), format!(":{ONES}: :{ONES}:"), format!("(:{ONES}:)"), format!("a=:{ONES}:"),
            // Other lengths than 32 bytes.
            ":aGk=:".into(), format!(":{}:", "A".repeat(42)), format!(":{}:", "A".repeat(44)),
            format!(":{}:", STANDARD.encode([1; 31])), format!(":{}:", STANDARD.encode([1; 33])),
            // Not this alphabet, not this padding.
            format!(":{}-:", &ONES[..42]), format!(":{}_=:", &ONES[..42]), format!(":{} =:", &ONES[..42]),
            format!(":{ONES}=:"), format!(":={}:", &ONES[..43]), format!(":{}=/:", &ONES[..42]),
            format!("\t:{ONES}:"), format!(":{ONES}:\t"), format!(":{ONES}:\u{e4}"),
            // What follows counts.
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
