//! Methods of files (RFC 9110 §9).

/// The value of `Allow` for a file (RFC 9110 §10.2.1).
pub const ALLOW: &str = "GET, HEAD, OPTIONS";

/// The meaning of a method for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`: exactly the head of `GET`, without a body (RFC 9110 §9.3.2).
    Head,
    /// A registered method that files do not support: 405 with [`ALLOW`] (RFC 9110 §15.5.6).
    NotAllowed,
    /// An unregistered method: 501 (RFC 9110 §15.6.2).
    NotImplemented,
    /// `OPTIONS`.
    Options,
}

/// The IANA registry of methods without the three methods of files, in its order; `PRI` is no request method.
const REGISTERED: &[&str] = &[
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

impl Method {
    /// Parses the name as sent; names are case-sensitive (RFC 9110 §9.1).
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            other if REGISTERED.contains(&other) => Self::NotAllowed,
            _ => Self::NotImplemented,
        }
    }

    /// Returns true if the preconditions of a read apply (RFC 9110 §13.2.2).
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_answered_refused_or_unknown() {
        #[rustfmt::skip]
        let cases = [
            ("GET",     Method::Get),            // RFC 9110 §9.3.1
            ("HEAD",    Method::Head),           // RFC 9110 §9.3.2
            ("POST",    Method::NotAllowed),     // RFC 9110 §9.3.3
            ("PUT",     Method::NotAllowed),     // RFC 9110 §9.3.4
            ("DELETE",  Method::NotAllowed),     // RFC 9110 §9.3.5
            ("CONNECT", Method::NotAllowed),     // RFC 9110 §9.3.6
            ("OPTIONS", Method::Options),        // RFC 9110 §9.3.7
            ("TRACE",   Method::NotAllowed),     // RFC 9110 §9.3.8
            ("PATCH",   Method::NotAllowed),     // RFC 5789
            ("get",     Method::NotImplemented), // RFC 9110 §9.1: case-sensitive
            ("BREW",    Method::NotImplemented), // RFC 9110 §15.6.2
            ("",        Method::NotImplemented),
        ];
        for (name, expected) in cases {
            assert_eq!(Method::of(name), expected, "{name}");
        }
    }
}
