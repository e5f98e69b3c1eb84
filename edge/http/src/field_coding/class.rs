//! Classes of request fields by name and value (RFC 9113 §8.2 and §8.3, repeated by RFC 9114 §4.2 and §4.3).

/// Role of a field in a request. Determined when the field is decoded, and stored with the table entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:authority`.
    Authority,
    /// `:path`.
    Path,
    /// Any other name with a leading colon, including the pseudo fields of answers.
    UnknownPseudo,
    /// Any field without a special role.
    Regular,
    /// `host`.
    Host,
    /// `cookie`.
    Cookie,
    /// `content-length`; the value is not checked to be a number.
    ContentLength,
    /// `te: trailers`.
    Te,
    /// Connection-specific field of HTTP/1.1, which makes a request malformed (RFC 9113 §8.2.2): `connection`,
    /// `keep-alive`, `proxy-connection`, `transfer-encoding`, `upgrade`, and `te` with any value but `trailers`.
    ConnectionSpecific,
    /// Malformed field: the name is not a token in lower case (RFC 9113 §8.2.1, RFC 9110 §5.6.2), or the value contains
    /// a forbidden byte, or begins or ends with white space. The value of a pseudo field contains no space at all, and
    /// the value of `:authority` only bytes of an authority.
    Malformed,
}

/// Bytes of a token (RFC 9110 §5.6.2), without capital letters.
static IS_TOKEN: [bool; 256] = tokens();

#[expect(clippy::indexing_slicing, reason = "while it is compiled: a place beyond the end is no build")]
const fn tokens() -> [bool; 256] {
    let mut table = [false; 256];
    let all = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let mut at = 0;
    while at < all.len() {
        table[all[at] as usize] = true;
        at += 1;
    }
    table
}

/// Bytes of an authority (RFC 3986 §3.2) without a user, which HTTP/2 forbids (§8.3.1).
static IS_OF_AUTHORITY: [bool; 256] = of_authority();

#[expect(clippy::indexing_slicing, reason = "while it is compiled: a place beyond the end is no build")]
const fn of_authority() -> [bool; 256] {
    let mut table = [false; 256];
    let all = b"-._~!$&'()*+,;=:[]%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut at = 0;
    while at < all.len() {
        table[all[at] as usize] = true;
        at += 1;
    }
    table
}

/// Returns true if a name is a token in lower case.
fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| IS_TOKEN.get(usize::from(*byte)).copied().unwrap_or_default())
}

impl Class {
    /// Returns the class by name.
    pub(in super::super) fn of_name(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b"host" => Self::Host,
            b"cookie" => Self::Cookie,
            b"content-length" => Self::ContentLength,
            b"te" => Self::Te,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
                Self::ConnectionSpecific
            }
            [b':', rest @ ..] if is_token(rest) => Self::UnknownPseudo,
            _ if is_token(name) => Self::Regular,
            _ => Self::Malformed,
        }
    }

    /// Returns the class by value, for names that need the value.
    pub(in super::super) fn with_value(self, value: &[u8]) -> Self {
        let is_sound = match self {
            Self::Authority => {
                value.iter().all(|byte| IS_OF_AUTHORITY.get(usize::from(*byte)).copied().unwrap_or_default())
            }
            // Without an early exit, many bytes are checked in one step.
            Self::Method | Self::Scheme | Self::Path | Self::UnknownPseudo => {
                value.iter().fold(true, |is_sound, byte| is_sound & (*byte > b' ') & (*byte != 0x7f))
            }
            _ => {
                let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
                value.iter().all(|byte| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t')
                    && !is_space(value.first())
                    && !is_space(value.last())
            }
        };
        match self {
            _ if !is_sound => Self::Malformed,
            Self::Te if !value.eq_ignore_ascii_case(b"trailers") => Self::ConnectionSpecific,
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &[u8], value: &[u8]) -> Class {
        Class::of_name(name).with_value(value)
    }

    #[test]
    fn names_say_what_a_field_is() {
        for (name, expected) in [
            (&b":method"[..], Class::Method),
            (b":scheme", Class::Scheme),
            (b":authority", Class::Authority),
            (b":path", Class::Path),
            (b":status", Class::UnknownPseudo),
            (b":protocol", Class::UnknownPseudo),
            (b"host", Class::Host),
            (b"cookie", Class::Cookie),
            (b"content-length", Class::ContentLength),
            (b"connection", Class::ConnectionSpecific),
            (b"keep-alive", Class::ConnectionSpecific),
            (b"proxy-connection", Class::ConnectionSpecific),
            (b"transfer-encoding", Class::ConnectionSpecific),
            (b"upgrade", Class::ConnectionSpecific),
            (b"x-a", Class::Regular),
            (b"!#$%&'*+-.^_`|~09az", Class::Regular),
        ] {
            assert_eq!(class(name, b"1"), expected, "{name:?}");
        }
    }

    #[test]
    fn te_says_nothing_but_trailers() {
        assert_eq!(class(b"te", b"trailers"), Class::Te);
        assert_eq!(class(b"te", b"Trailers"), Class::Te);
        assert_eq!(class(b"te", b"gzip"), Class::ConnectionSpecific);
        assert_eq!(class(b"te", b""), Class::ConnectionSpecific);
        assert_eq!(class(b"te", b"trailers, gzip"), Class::ConnectionSpecific);
    }

    #[test]
    fn a_name_is_a_token_in_lower_case() {
        for name in
            [&b""[..], b":", b"::path", b":Path", b"Host", b"x a", b"x:a", b"x\n", b"x\0", b"\xc3\xa4", b"x\x7f"]
        {
            assert_eq!(class(name, b"1"), Class::Malformed, "{name:?}");
        }
        for byte in 0..=u8::MAX {
            let is_sound = http::HeaderName::from_bytes(&[byte]).is_ok() && !byte.is_ascii_uppercase();
            assert_eq!(class(&[byte], b"1") == Class::Regular, is_sound, "{byte}");
        }
    }

    #[test]
    fn a_value_holds_what_the_library_takes_and_no_space_around() {
        for byte in 0..=u8::MAX {
            let value = [b'a', byte, b'b'];
            let is_sound = http::HeaderValue::from_bytes(&value).is_ok();
            assert_eq!(class(b"x", &value) != Class::Malformed, is_sound, "{byte}");
            assert_eq!(class(b"cookie", &value) != Class::Malformed, is_sound, "{byte}");
            assert_eq!(class(b":path", &value) != Class::Malformed, byte > b' ' && byte != 0x7f, "{byte}");
        }
        for value in [&b" a"[..], b"a ", b"\ta", b"a\t", b" ", b"\t"] {
            assert_eq!(class(b"x", value), Class::Malformed, "{value:?}");
        }
        assert_eq!(class(b"x", b""), Class::Regular);
        assert_eq!(class(b"connection", b"\0"), Class::Malformed);
    }
}
