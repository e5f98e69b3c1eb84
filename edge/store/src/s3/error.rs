//! Errors of an S3 store, by the codes of its answers. No text of an answer is passed on: some texts hold the id of a
//! key.

use std::error::Error as StdError;

use super::Address;

/// Codes of answers, by meaning.
const NO_BUCKET: &str = "NoSuchBucket";
const CLOCK: &str = "RequestTimeTooSkewed";
const REGION: [&str; 4] =
    ["AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "TemporaryRedirect"];
const FULL: [&str; 5] =
    ["InsufficientStorage", "QuotaExceeded", "StorageFull", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"];
/// Codes that come with statuses other than 401 and 403.
const DENIED: [&str; 3] = ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"];
/// Upper bound of shown characters of a code.
const CODE_CHARACTERS_MAX: usize = 64;

/// The reason of a failed request to a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The clocks of the store and of this machine differ too much for a signature.
    #[error("{at} refuses requests of this time of day: the clocks differ")]
    Clock {
        /// The store.
        at: String,
    },
    /// The credentials lack the right for the operation.
    #[error("{at} refuses {doing} {object}: {code}")]
    Denied {
        /// The store.
        at: String,
        /// The operation, such as `writing`.
        doing: &'static str,
        /// The object.
        object: String,
        /// The code of the answer.
        code: String,
    },
    /// The store failed, or sent an answer that cannot be understood.
    #[error("{doing} {object} at {at} failed: {reason}")]
    Failed {
        /// The store.
        at: String,
        /// The operation.
        doing: &'static str,
        /// The object.
        object: String,
        /// Status and code.
        reason: String,
    },
    /// The store is full, or a quota is used up.
    #[error("{at} has no room left: writing {object} was refused with {code}")]
    Full {
        /// The store.
        at: String,
        /// The object.
        object: String,
        /// The code of the answer.
        code: String,
    },
    /// The bucket does not exist.
    #[error("{at} has no bucket {bucket}")]
    NoBucket {
        /// The store.
        at: String,
        /// The bucket.
        bucket: String,
    },
    /// No credentials are configured, and the machine has no metadata service with credentials.
    #[error("there are no credentials for {at}")]
    NoCredentials {
        /// The store.
        at: String,
    },
    /// The bucket is in a different region.
    #[error("the bucket {bucket} of {at} lies in another region")]
    Region {
        /// The store.
        at: String,
        /// The bucket.
        bucket: String,
    },
    /// The settings cannot be used.
    #[error("{reason}")]
    Settings {
        /// The reason, for a person.
        reason: String,
    },
    /// The store cannot be reached.
    #[error("{at} cannot be reached: {reason}")]
    Unreachable {
        /// The store.
        at: String,
        /// The reason, for a person.
        reason: String,
    },
    /// The store's certificate is not trusted.
    #[error("the certificate of {at} is not trusted: {reason}")]
    Untrusted {
        /// The store.
        at: String,
        /// The reason, for a person.
        reason: String,
    },
}

/// The names that errors contain.
#[derive(Debug, Clone)]
pub(super) struct Context {
    at: String,
    address: Address,
    has_credentials: bool,
}

impl Context {
    pub(super) fn new(address: &Address, at: String, has_credentials: bool) -> Self {
        Self { at, address: address.clone(), has_credentials }
    }

    pub(super) fn late(&self) -> Error {
        Error::Unreachable { at: self.at.clone(), reason: "it does not answer in time".to_owned() }
    }

    pub(super) fn object(&self, path: &str) -> String {
        if path.is_empty() { self.address.to_string() } else { format!("{}/{path}", self.address) }
    }

    pub(super) fn failed(&self, doing: &'static str, path: &str, reason: String) -> Error {
        Error::Failed { at: self.at.clone(), doing, object: self.object(path), reason }
    }

    pub(super) fn error(&self, doing: &'static str, path: &str, error: &object_store::Error) -> Error {
        let Answer { text, code } = Answer::of(error);
        let (at, object, bucket) = (self.at.clone(), self.object(path), self.address.bucket().to_owned());
        // The metadata service of the machine was asked instead, and is missing or belongs to a different service.
        if !self.has_credentials && text.contains("/latest/") {
            return Error::NoCredentials { at };
        }
        if let Some(code) = code {
            return match code.as_str() {
                NO_BUCKET => Error::NoBucket { at, bucket },
                CLOCK => Error::Clock { at },
                known if REGION.contains(&known) => Error::Region { at, bucket },
                known if FULL.contains(&known) => Error::Full { at, object, code },
                known if DENIED.contains(&known) || is_denied(error) => Error::Denied { at, doing, object, code },
                _ => self.failed(doing, path, with_status(&text, &code)),
            };
        }
        if text.contains("redirect without LOCATION") {
            return Error::Region { at, bucket };
        }
        if is_denied(error) {
            return Error::Denied { at, doing, object, code: "403".to_owned() };
        }
        if let Some(status) = status(&text) {
            return match status {
                "507" => Error::Full { at, object, code: status.to_owned() },
                "404" => Error::NoBucket { at, bucket },
                status => self.failed(doing, path, format!("it answers {status}")),
            };
        }
        let reason = sentence(error);
        match reason.contains("certificate") {
            true => Error::Untrusted { at, reason },
            false => Error::Unreachable { at, reason },
        }
    }
}

/// Returns true if an object is missing, and not its bucket.
pub(super) fn is_missing_object(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) && Answer::of(error).code.as_deref() != Some(NO_BUCKET)
}

const fn is_denied(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. })
}

/// Returns true if a store does not implement a kind of request.
pub(super) fn is_not_implemented(error: &object_store::Error) -> bool {
    let Answer { text, code } = Answer::of(error);
    code.as_deref() == Some("NotImplemented") || status(&text) == Some("501")
}

/// The innermost cause of an error.
pub(super) fn sentence(error: &object_store::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// An answer, as reported by the library.
struct Answer {
    /// The whole text, which is never shown.
    text: String,
    /// The code in the body.
    code: Option<String>,
}

impl Answer {
    fn of(error: &object_store::Error) -> Self {
        let text = error.to_string();
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
        let is_word = |code: &&str| {
            code.len() <= CODE_CHARACTERS_MAX && code.chars().all(|character| character.is_ascii_alphanumeric())
        };
        let code = code.filter(is_word).map(str::to_owned);
        Self { text, code }
    }
}

/// Returns the status in a text of the library.
fn status(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3).filter(|status| status.bytes().all(|byte| byte.is_ascii_digit()))
}

fn with_status(text: &str, code: &str) -> String {
    status(text).map_or_else(|| format!("it answers {code}"), |status| format!("it answers {status} {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context::new(&"s3://backups/edge".parse().unwrap(), "127.0.0.1:9000".to_owned(), true)
    }

    fn answer(status: &str, code: &str) -> object_store::Error {
        let body = format!("<Error><Code>{code}</Code><AWSAccessKeyId>AKIAHUSH</AWSAccessKeyId></Error>");
        let source = format!("Error performing PUT - Server returned non-2xx status code: {status}: {body}").into();
        match status {
            "403 Forbidden" => object_store::Error::PermissionDenied { path: "x".to_owned(), source },
            "404 Not Found" => object_store::Error::NotFound { path: "x".to_owned(), source },
            _ => object_store::Error::Generic { store: "S3", source },
        }
    }

    #[test]
    fn answers_are_distinguished_and_no_text_of_theirs_is_shown() {
        let cases = [
            ("403 Forbidden", "InvalidAccessKeyId", "refuses writing s3://backups/edge/format: InvalidAccessKeyId"),
            ("403 Forbidden", "RequestTimeTooSkewed", "clocks differ"),
            ("400 Bad Request", "ExpiredToken", "refuses writing s3://backups/edge/format: ExpiredToken"),
            ("404 Not Found", "NoSuchBucket", "127.0.0.1:9000 has no bucket backups"),
            ("400 Bad Request", "AuthorizationHeaderMalformed", "another region"),
            ("507 Insufficient Storage", "XMinioStorageFull", "no room left"),
            ("503 Service Unavailable", "SlowDown", "failed: it answers 503 SlowDown"),
        ];
        for (status, code, expected) in cases {
            let shown = context().error("writing", "format", &answer(status, code)).to_string();
            assert!(shown.contains(expected) && !shown.contains("HUSH"), "{code}: {shown}");
        }
    }

    #[test]
    fn a_missing_object_is_not_a_missing_bucket() {
        assert!(is_missing_object(&answer("404 Not Found", "NoSuchKey")));
        assert!(!is_missing_object(&answer("404 Not Found", "NoSuchBucket")));
    }
}
