//! `Content-Digest` (RFC 9530): announced hash of a body, verified on arrival.

use aws_lc_rs::digest::{Algorithm, Context, SHA256, SHA512};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use devanture_config::problem::{Code, Problem};
use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, Item, KeyRef, ListEntry, Parser, key_ref};

use crate::ledger::Error;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Algorithms considered secure by RFC 9530 §5.
const ALGORITHMS: [(&KeyRef, &Algorithm); 2] = [(key_ref("sha-256"), &SHA256), (key_ref("sha-512"), &SHA512)];

/// Digests of an incoming body.
pub(super) struct ContentDigest(Vec<Expected>);

struct Expected {
    name: &'static str,
    context: Context,
    digest: Vec<u8>,
}

impl ContentDigest {
    /// Reads the digest from the header fields; `None` without a supported algorithm, since a recipient may ignore
    /// unknown algorithms (RFC 9530 §2).
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, Error> {
        let mut members = Dictionary::new();
        for value in headers.get_all(CONTENT_DIGEST) {
            members = Parser::new(value).parse_dictionary_with_visitor(members).map_err(|_error| malformed())?;
        }
        // An empty field equals an absent field (RFC 9651 §4.2), but its sender meant to protect the body.
        if members.is_empty() && headers.contains_key(CONTENT_DIGEST) {
            return Err(malformed());
        }
        let mut expected = Vec::new();
        for (name, algorithm) in ALGORITHMS {
            let digest = match members.get(name) {
                None => continue,
                Some(ListEntry::Item(Item { bare_item: BareItem::ByteSequence(digest), .. })) => digest.clone(),
                Some(_) => return Err(malformed()),
            };
            if digest.len() != algorithm.output_len() {
                return Err(malformed());
            }
            expected.push(Expected { name: name.as_str(), context: Context::new(algorithm), digest });
        }
        Ok((!expected.is_empty()).then_some(Self(expected)))
    }

    /// Hashes the next bytes of the body.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        for expected in &mut self.0 {
            expected.context.update(bytes);
        }
    }

    /// Verifies the complete body.
    pub(super) fn check(self) -> Result<(), Error> {
        for Expected { name, context, digest } in self.0 {
            let found = context.finish();
            if found.as_ref() != digest {
                let found = BASE64_STANDARD.encode(found);
                let detail = format!("The body's {name} is :{found}:, which is not that of its Content-Digest.");
                return Err(Problem::new(Code::DigestMismatch, detail).hint("send it again").into());
            }
        }
        Ok(())
    }
}

fn malformed() -> Error {
    Problem::new(Code::BadRequest, "The field Content-Digest cannot be read.")
        .hint("it is written as `sha-256=:BASE64:` (RFC 9530)")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn headers(value: &str) -> HeaderMap {
        [(CONTENT_DIGEST, HeaderValue::from_str(value).unwrap())].into_iter().collect()
    }

    fn written(name: &str, algorithm: &'static Algorithm, body: &[u8]) -> String {
        let digest = aws_lc_rs::digest::digest(algorithm, body);
        format!("{name}=:{}:", BASE64_STANDARD.encode(digest))
    }

    #[test]
    fn the_example_of_rfc_9530_is_read() {
        // Appendix B.1: the body is `{"hello": "world"}` and a line feed.
        let field = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        let mut digest = ContentDigest::read(&headers(field)).unwrap().unwrap();
        digest.update(b"{\"hello\": \"world\"}\n");
        digest.check().unwrap();
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_what_cannot_be_read_refused() {
        for field in ["md5=:AAAA:", "crc32c=:AAAA:, x=1", "x=\"a, b=c\", y=(1 2);q, z"] {
            assert!(ContentDigest::read(&headers(field)).unwrap().is_none(), "{field}");
        }
        assert!(ContentDigest::read(&HeaderMap::new()).unwrap().is_none());
        for field in [
            "",
            "sha-256",
            "sha-256=AAAA",
            "sha-256=:AAAA:",
            "sha-256=:*:",
            "sha-512=:RK/0=:",
            "md5=:A:, ,",
            "sha-256=(:AAAA:)",
        ] {
            assert!(ContentDigest::read(&headers(field)).is_err(), "{field}");
        }
    }

    #[test]
    fn of_two_members_with_one_key_the_last_counts_also_across_lines() {
        let mut headers = headers("sha-256=1, sha-256=:AAAA:");
        headers.append(CONTENT_DIGEST, HeaderValue::from_str(&written("sha-256", &SHA256, b"body")).unwrap());
        let mut digest = ContentDigest::read(&headers).unwrap().unwrap();
        digest.update(b"body");
        digest.check().unwrap();
        headers.append(CONTENT_DIGEST, HeaderValue::from_static("sha-256=:AAAA:"));
        assert!(ContentDigest::read(&headers).is_err());
    }

    proptest! {
        #[test]
        fn a_body_is_taken_in_any_pieces_and_no_other_body(body: Vec<u8>, cut: prop::sample::Index, other: Vec<u8>) {
            let field = format!("{}, {};q=1", written("sha-256", &SHA256, &body), written("sha-512", &SHA512, &body));
            let read = || ContentDigest::read(&headers(&field)).unwrap().unwrap();
            let (start, end) = body.split_at(cut.index(body.len() + 1));
            let mut digest = read();
            digest.update(start);
            digest.update(end);
            prop_assert!(digest.check().is_ok());
            let mut digest = read();
            digest.update(&other);
            prop_assert_eq!(digest.check().is_ok(), other == body);
        }
    }
}
