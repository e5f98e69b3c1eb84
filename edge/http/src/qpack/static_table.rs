//! Static table of fields (RFC 9204 Appendix A).

use super::super::field_coding::Class;

/// Fields in order, beginning with index 0, each with the class by name as returned by the decoder.
#[rustfmt::skip]
pub(super) static FIELDS: [(&str, &str, Class); 99] = [
    (":authority", "", Class::Authority),
    (":path", "/", Class::Path),
    ("age", "0", Class::Regular),
    ("content-disposition", "", Class::Regular),
    ("content-length", "0", Class::ContentLength),
    ("cookie", "", Class::Cookie),
    ("date", "", Class::Regular),
    ("etag", "", Class::Regular),
    ("if-modified-since", "", Class::Regular),
    ("if-none-match", "", Class::Regular),
    ("last-modified", "", Class::Regular),
    ("link", "", Class::Regular),
    ("location", "", Class::Regular),
    ("referer", "", Class::Regular),
    ("set-cookie", "", Class::Regular),
    (":method", "CONNECT", Class::Method),
    (":method", "DELETE", Class::Method),
    (":method", "GET", Class::Method),
    (":method", "HEAD", Class::Method),
    (":method", "OPTIONS", Class::Method),
    (":method", "POST", Class::Method),
    (":method", "PUT", Class::Method),
    (":scheme", "http", Class::Scheme),
    (":scheme", "https", Class::Scheme),
    (":status", "103", Class::UnknownPseudo),
    (":status", "200", Class::UnknownPseudo),
    (":status", "304", Class::UnknownPseudo),
    (":status", "404", Class::UnknownPseudo),
    (":status", "503", Class::UnknownPseudo),
    ("accept", "*/*", Class::Regular),
    ("accept", "application/dns-message", Class::Regular),
    ("accept-encoding", "gzip, deflate, br", Class::Regular),
    ("accept-ranges", "bytes", Class::Regular),
    ("access-control-allow-headers", "cache-control", Class::Regular),
    ("access-control-allow-headers", "content-type", Class::Regular),
    ("access-control-allow-origin", "*", Class::Regular),
    ("cache-control", "max-age=0", Class::Regular),
    ("cache-control", "max-age=2592000", Class::Regular),
    ("cache-control", "max-age=604800", Class::Regular),
    ("cache-control", "no-cache", Class::Regular),
    ("cache-control", "no-store", Class::Regular),
    ("cache-control", "public, max-age=31536000", Class::Regular),
    ("content-encoding", "br", Class::Regular),
    ("content-encoding", "gzip", Class::Regular),
    ("content-type", "application/dns-message", Class::Regular),
    ("content-type", "application/javascript", Class::Regular),
    ("content-type", "application/json", Class::Regular),
    ("content-type", "application/x-www-form-urlencoded", Class::Regular),
    ("content-type", "image/gif", Class::Regular),
    ("content-type", "image/jpeg", Class::Regular),
    ("content-type", "image/png", Class::Regular),
    ("content-type", "text/css", Class::Regular),
    ("content-type", "text/html; charset=utf-8", Class::Regular),
    ("content-type", "text/plain", Class::Regular),
    ("content-type", "text/plain;charset=utf-8", Class::Regular),
    ("range", "bytes=0-", Class::Regular),
    ("strict-transport-security", "max-age=31536000", Class::Regular),
    ("strict-transport-security", "max-age=31536000; includesubdomains", Class::Regular),
    ("strict-transport-security", "max-age=31536000; includesubdomains; preload", Class::Regular),
    ("vary", "accept-encoding", Class::Regular),
    ("vary", "origin", Class::Regular),
    ("x-content-type-options", "nosniff", Class::Regular),
    ("x-xss-protection", "1; mode=block", Class::Regular),
    (":status", "100", Class::UnknownPseudo),
    (":status", "204", Class::UnknownPseudo),
    (":status", "206", Class::UnknownPseudo),
    (":status", "302", Class::UnknownPseudo),
    (":status", "400", Class::UnknownPseudo),
    (":status", "403", Class::UnknownPseudo),
    (":status", "421", Class::UnknownPseudo),
    (":status", "425", Class::UnknownPseudo),
    (":status", "500", Class::UnknownPseudo),
    ("accept-language", "", Class::Regular),
    ("access-control-allow-credentials", "FALSE", Class::Regular),
    ("access-control-allow-credentials", "TRUE", Class::Regular),
    ("access-control-allow-headers", "*", Class::Regular),
    ("access-control-allow-methods", "get", Class::Regular),
    ("access-control-allow-methods", "get, post, options", Class::Regular),
    ("access-control-allow-methods", "options", Class::Regular),
    ("access-control-expose-headers", "content-length", Class::Regular),
    ("access-control-request-headers", "content-type", Class::Regular),
    ("access-control-request-method", "get", Class::Regular),
    ("access-control-request-method", "post", Class::Regular),
    ("alt-svc", "clear", Class::Regular),
    ("authorization", "", Class::Regular),
    ("content-security-policy", "script-src 'none'; object-src 'none'; base-uri 'none'", Class::Regular),
    ("early-data", "1", Class::Regular),
    ("expect-ct", "", Class::Regular),
    ("forwarded", "", Class::Regular),
    ("if-range", "", Class::Regular),
    ("origin", "", Class::Regular),
    ("purpose", "prefetch", Class::Regular),
    ("server", "", Class::Regular),
    ("timing-allow-origin", "*", Class::Regular),
    ("upgrade-insecure-requests", "1", Class::Regular),
    ("user-agent", "", Class::Regular),
    ("x-forwarded-for", "", Class::Regular),
    ("x-frame-options", "deny", Class::Regular),
    ("x-frame-options", "sameorigin", Class::Regular),
];

/// Returns the index of the first field with `name`, for names of answers.
#[rustfmt::skip]
pub(super) fn number_of(name: &[u8]) -> Option<usize> {
    Some(match name {
        b"age" => 2,
        b"content-disposition" => 3,
        b"content-length" => 4,
        b"cookie" => 5,
        b"date" => 6,
        b"etag" => 7,
        b"if-modified-since" => 8,
        b"if-none-match" => 9,
        b"last-modified" => 10,
        b"link" => 11,
        b"location" => 12,
        b"referer" => 13,
        b"set-cookie" => 14,
        b":status" => 24,
        b"accept" => 29,
        b"accept-encoding" => 31,
        b"accept-ranges" => 32,
        b"access-control-allow-headers" => 33,
        b"access-control-allow-origin" => 35,
        b"cache-control" => 36,
        b"content-encoding" => 42,
        b"content-type" => 44,
        b"range" => 55,
        b"strict-transport-security" => 56,
        b"vary" => 59,
        b"x-content-type-options" => 61,
        b"x-xss-protection" => 62,
        b"accept-language" => 72,
        b"access-control-allow-credentials" => 73,
        b"access-control-allow-methods" => 76,
        b"access-control-expose-headers" => 79,
        b"access-control-request-headers" => 80,
        b"access-control-request-method" => 81,
        b"alt-svc" => 83,
        b"authorization" => 84,
        b"content-security-policy" => 85,
        b"early-data" => 86,
        b"expect-ct" => 87,
        b"forwarded" => 88,
        b"if-range" => 89,
        b"origin" => 90,
        b"purpose" => 91,
        b"server" => 92,
        b"timing-allow-origin" => 93,
        b"upgrade-insecure-requests" => 94,
        b"user-agent" => 95,
        b"x-forwarded-for" => 96,
        b"x-frame-options" => 97,
        _ => return None,
    })
}

/// Returns the index of a field with name and value, if the table has both.
pub(super) fn number_of_whole(name: &[u8], value: &[u8]) -> Option<usize> {
    let first = number_of(name)?;
    // Fields of one name are not always adjacent.
    let further = FIELDS
        .get(first..)?
        .iter()
        .position(|(other, known, _)| known.as_bytes() == value && other.as_bytes() == name)?;
    Some(first + further)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_fields_are_found_by_their_number() {
        for (number, (name, value, class)) in FIELDS.iter().enumerate() {
            // The class of a name does not check the value.
            assert_eq!(*class, Class::of_name(name.as_bytes()), "{name}");
            if !name.starts_with(':') || *name == ":status" {
                let first = FIELDS.iter().position(|field| field.0 == *name);
                assert_eq!(number_of(name.as_bytes()), first, "{name}");
                assert_eq!(number_of_whole(name.as_bytes(), value.as_bytes()), Some(number), "{name}");
            }
        }
        assert_eq!(number_of(b"x-robots-tag"), None);
        assert_eq!(number_of_whole(b":status", b""), None);
        assert_eq!(number_of_whole(b"vary", b"accept"), None);
    }
}
