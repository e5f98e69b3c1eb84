//! Static table of fields (RFC 7541 Appendix A).

use super::super::field_coding::Class;

/// Fields in order, beginning with index 1, each with the class by name as returned by the decoder.
pub(super) static FIELDS: [(&str, &str, Class); 61] = [
    (":authority", "", Class::Authority),
    (":method", "GET", Class::Method),
    (":method", "POST", Class::Method),
    (":path", "/", Class::Path),
    (":path", "/index.html", Class::Path),
    (":scheme", "http", Class::Scheme),
    (":scheme", "https", Class::Scheme),
    (":status", "200", Class::UnknownPseudo),
    (":status", "204", Class::UnknownPseudo),
    (":status", "206", Class::UnknownPseudo),
    (":status", "304", Class::UnknownPseudo),
    (":status", "400", Class::UnknownPseudo),
    (":status", "404", Class::UnknownPseudo),
    (":status", "500", Class::UnknownPseudo),
    ("accept-charset", "", Class::Regular),
    ("accept-encoding", "gzip, deflate", Class::Regular),
    ("accept-language", "", Class::Regular),
    ("accept-ranges", "", Class::Regular),
    ("accept", "", Class::Regular),
    ("access-control-allow-origin", "", Class::Regular),
    ("age", "", Class::Regular),
    ("allow", "", Class::Regular),
    ("authorization", "", Class::Regular),
    ("cache-control", "", Class::Regular),
    ("content-disposition", "", Class::Regular),
    ("content-encoding", "", Class::Regular),
    ("content-language", "", Class::Regular),
    ("content-length", "", Class::ContentLength),
    ("content-location", "", Class::Regular),
    ("content-range", "", Class::Regular),
    ("content-type", "", Class::Regular),
    ("cookie", "", Class::Cookie),
    ("date", "", Class::Regular),
    ("etag", "", Class::Regular),
    ("expect", "", Class::Regular),
    ("expires", "", Class::Regular),
    ("from", "", Class::Regular),
    ("host", "", Class::Host),
    ("if-match", "", Class::Regular),
    ("if-modified-since", "", Class::Regular),
    ("if-none-match", "", Class::Regular),
    ("if-range", "", Class::Regular),
    ("if-unmodified-since", "", Class::Regular),
    ("last-modified", "", Class::Regular),
    ("link", "", Class::Regular),
    ("location", "", Class::Regular),
    ("max-forwards", "", Class::Regular),
    ("proxy-authenticate", "", Class::Regular),
    ("proxy-authorization", "", Class::Regular),
    ("range", "", Class::Regular),
    ("referer", "", Class::Regular),
    ("refresh", "", Class::Regular),
    ("retry-after", "", Class::Regular),
    ("server", "", Class::Regular),
    ("set-cookie", "", Class::Regular),
    ("strict-transport-security", "", Class::Regular),
    ("transfer-encoding", "", Class::ConnectionSpecific),
    ("user-agent", "", Class::Regular),
    ("vary", "", Class::Regular),
    ("via", "", Class::Regular),
    ("www-authenticate", "", Class::Regular),
];

/// Returns the index of the first field with `name`, for names of answers.
#[rustfmt::skip]
pub(super) fn number_of(name: &[u8]) -> Option<u8> {
    Some(match name {
        b":status" => 8,
        b"accept-charset" => 15,
        b"accept-encoding" => 16,
        b"accept-language" => 17,
        b"accept-ranges" => 18,
        b"accept" => 19,
        b"access-control-allow-origin" => 20,
        b"age" => 21,
        b"allow" => 22,
        b"authorization" => 23,
        b"cache-control" => 24,
        b"content-disposition" => 25,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-length" => 28,
        b"content-location" => 29,
        b"content-range" => 30,
        b"content-type" => 31,
        b"cookie" => 32,
        b"date" => 33,
        b"etag" => 34,
        b"expect" => 35,
        b"expires" => 36,
        b"from" => 37,
        b"host" => 38,
        b"if-match" => 39,
        b"if-modified-since" => 40,
        b"if-none-match" => 41,
        b"if-range" => 42,
        b"if-unmodified-since" => 43,
        b"last-modified" => 44,
        b"link" => 45,
        b"location" => 46,
        b"max-forwards" => 47,
        b"proxy-authenticate" => 48,
        b"proxy-authorization" => 49,
        b"range" => 50,
        b"referer" => 51,
        b"refresh" => 52,
        b"retry-after" => 53,
        b"server" => 54,
        b"set-cookie" => 55,
        b"strict-transport-security" => 56,
        b"transfer-encoding" => 57,
        b"user-agent" => 58,
        b"vary" => 59,
        b"via" => 60,
        b"www-authenticate" => 61,
        _ => return None,
    })
}

/// Returns the index of a field with name and value, for the few entries with a value.
pub(super) fn number_of_whole(name: &[u8], value: &[u8]) -> Option<u8> {
    match (name, value) {
        (b":status", b"200") => Some(8),
        (b":status", b"204") => Some(9),
        (b":status", b"206") => Some(10),
        (b":status", b"304") => Some(11),
        (b":status", b"400") => Some(12),
        (b":status", b"404") => Some(13),
        (b":status", b"500") => Some(14),
        (b"accept-encoding", b"gzip, deflate") => Some(16),
        (_, b"") => number_of(name).filter(|number| !matches!(number, 8 | 16)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_fields_are_found_by_their_number() {
        for (place, (name, value, class)) in FIELDS.iter().enumerate() {
            let number = u8::try_from(place + 1).ok();
            assert_eq!(*class, Class::of_name(name.as_bytes()), "{name}");
            if !name.starts_with(':') || *name == ":status" {
                let first = FIELDS.iter().position(|field| field.0 == *name).unwrap() + 1;
                assert_eq!(number_of(name.as_bytes()).map(usize::from), Some(first), "{name}");
                assert_eq!(number_of_whole(name.as_bytes(), value.as_bytes()), number, "{name}");
            }
        }
        assert_eq!(number_of(b"x-robots-tag"), None);
        assert_eq!(number_of_whole(b":status", b""), None);
        assert_eq!(number_of_whole(b"accept-encoding", b""), None);
        assert_eq!(number_of_whole(b"vary", b"accept"), None);
    }
}
