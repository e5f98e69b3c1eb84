//! Control data of a request: RFC 9113 sections 8.3, 8.3.1 and 8.5.

use crate::http2::table::*;
use crate::http2::wire::{HOST, flag, request};

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const AUTHORITY: (&str, &str) = (":authority", HOST);
const PATH: (&str, &str) = (":path", "/");

pub(crate) fn cases() -> Vec<Case> {
    [present(), values(), hosts(), connect()].into_iter().flatten().collect()
}

fn present() -> Vec<Case> {
    vec![
        case(
            "8.3.1",
            "a request without :method is malformed",
            |s| s.exactly(1, &[SCHEME, AUTHORITY, PATH]),
            malformed(),
        ),
        case(
            "8.3.1",
            "a request without :scheme is malformed",
            |s| s.exactly(1, &[METHOD, AUTHORITY, PATH]),
            malformed(),
        ),
        case(
            "8.3.1",
            "a request without :path is malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, AUTHORITY]),
            malformed(),
        ),
        case("8.3.1", "a request without any field is malformed", |s| s.exactly(1, &[]), malformed()),
        case(
            "8.3",
            "two :method are malformed",
            |s| s.exactly(1, &[METHOD, METHOD, SCHEME, AUTHORITY, PATH]),
            malformed(),
        ),
        case(
            "8.3",
            "two :scheme are malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, SCHEME, AUTHORITY, PATH]),
            malformed(),
        ),
        case("8.3", "two :path are malformed", |s| s.exactly(1, &[METHOD, SCHEME, AUTHORITY, PATH, PATH]), malformed()),
        case(
            "8.3",
            "two :authority are malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH]),
            malformed(),
        ),
        case(
            "8.3",
            "a pseudo field after a field is malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, AUTHORITY, ("accept", "*/*"), PATH]),
            malformed(),
        ),
        case("8.3", "an unknown pseudo field is malformed", |s| s.get_with(1, &[(":colour", "red")]), malformed()),
        case("8.3", "a pseudo field of answers is malformed", |s| s.get_with(1, &[(":status", "200")]), malformed()),
        case(
            "8.2",
            "a pseudo field in upper case is malformed",
            |s| s.exactly(1, &[(":Method", "GET"), SCHEME, AUTHORITY, PATH]),
            malformed(),
        ),
        case(
            "8.3",
            "pseudo fields come in any order",
            |s| s.exactly(1, &[PATH, AUTHORITY, METHOD, SCHEME]),
            status(200),
        ),
        case(
            "8.1",
            "a pseudo field in trailers is malformed",
            |s| s.open(1).data(1, 0, "x").headers(1, flag::WHOLE, crate::http2::fields::literal(":path", "/else")),
            malformed(),
        ),
        case(
            "RFC 8441 4",
            ":protocol without the setting for it is malformed",
            |s| s.exactly(1, &[("\u{3a}method", "CONNECT"), SCHEME, AUTHORITY, PATH, (":protocol", "websocket")]),
            malformed(),
        ),
    ]
}

fn values() -> Vec<Case> {
    vec![
        case(
            "8.3.1",
            "an empty :path is malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, AUTHORITY, (":path", "")]),
            malformed(),
        ),
        case(
            "8.3.1",
            "a :path that does not begin with a slash is malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, AUTHORITY, (":path", "index.html")]),
            malformed(),
        ),
        case(
            "8.3.1",
            "a :path that is an absolute address is malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, AUTHORITY, (":path", "https://shop.localhost/")]),
            malformed(),
        ),
        case(
            "8.3.1",
            "a :path with a space is malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, AUTHORITY, (":path", "/a b")]),
            malformed(),
        ),
        case(
            "8.3.1",
            "a :path with a control character is malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, AUTHORITY, (":path", "/a\u{1}b")]),
            malformed(),
        ),
        case(
            "8.3.1",
            "a :path of an asterisk is for OPTIONS",
            |s| s.exactly(1, &[(":method", "OPTIONS"), SCHEME, AUTHORITY, (":path", "*")]),
            or(status(204), [Outcome::Answer(200), Outcome::Answer(400)]),
        ),
        case(
            "8.3.1",
            "a :path of an asterisk is malformed in a GET",
            |s| s.exactly(1, &[METHOD, SCHEME, AUTHORITY, (":path", "*")]),
            malformed(),
        ),
        case(
            "8.3.1",
            "a :scheme that is none is malformed",
            |s| s.exactly(1, &[METHOD, (":scheme", "ht tp"), AUTHORITY, PATH]),
            malformed(),
        ),
        case(
            "8.3.1",
            "an empty :scheme is malformed",
            |s| s.exactly(1, &[METHOD, (":scheme", ""), AUTHORITY, PATH]),
            malformed(),
        ),
        case(
            "8.3.1",
            "an empty :method is malformed",
            |s| s.exactly(1, &[(":method", ""), SCHEME, AUTHORITY, PATH]),
            malformed(),
        ),
        case(
            "8.3.1",
            "a :method that is no token is malformed",
            |s| s.exactly(1, &[(":method", "GET /"), SCHEME, AUTHORITY, PATH]),
            malformed(),
        ),
        case(
            "8.3.1",
            "methods are told apart by case",
            |s| s.exactly(1, &[(":method", "get"), SCHEME, AUTHORITY, PATH]),
            status(501),
        ),
    ]
}

fn hosts() -> Vec<Case> {
    vec![
        case(
            "8.3.1",
            "Host takes the place of :authority",
            |s| s.exactly(1, &[METHOD, SCHEME, PATH, ("host", HOST)]),
            status(200),
        ),
        case(
            "8.3.1",
            "a request with neither :authority nor Host is refused",
            |s| s.exactly(1, &[METHOD, SCHEME, PATH]),
            malformed(),
        ),
        case("8.3.1", ":authority and Host that agree are fine", |s| s.get_with(1, &[("host", HOST)]), status(200)),
        case(
            "8.3.1",
            ":authority and Host agree whatever their case",
            |s| s.get_with(1, &[("host", "SHOP.localhost")]),
            status(200),
        ),
        case(
            "8.3.1",
            ":authority and Host that disagree are refused",
            |s| s.get_with(1, &[("host", "other.localhost")]),
            malformed(),
        ),
        case(
            "8.3.1",
            ":authority and Host that disagree in the port are refused",
            |s| s.get_with(1, &[("host", "shop.localhost:1")]),
            malformed(),
        ),
        case("8.3.1", ":authority and an empty Host are refused", |s| s.get_with(1, &[("host", "")]), malformed()),
        case("8.3.1", "two Host are refused", |s| s.get_with(1, &[("host", HOST), ("host", HOST)]), malformed()),
        case(
            "8.3.1",
            "an empty :authority is refused",
            |s| s.exactly(1, &[METHOD, SCHEME, (":authority", ""), PATH]),
            malformed(),
        ),
        case(
            "8.3.1",
            "a user in :authority is malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, (":authority", "user@shop.localhost"), PATH]),
            malformed(),
        ),
        case(
            "8.3.1",
            "an :authority that is none is malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, (":authority", "shop localhost"), PATH]),
            malformed(),
        ),
        case(
            "8.3.1",
            "an :authority with the highest port is fine",
            |s| s.exactly(1, &[METHOD, SCHEME, (":authority", "shop.localhost:65535"), PATH]),
            status(200),
        ),
        case(
            "8.3.1",
            "an :authority with a port beyond 65535 is refused",
            |s| s.exactly(1, &[METHOD, SCHEME, (":authority", "shop.localhost:99999"), PATH]),
            malformed(),
        ),
        case(
            "8.3.1",
            "a Host with a port beyond 65535 is refused",
            |s| s.exactly(1, &[METHOD, SCHEME, PATH, ("host", "shop.localhost:99999")]),
            malformed(),
        ),
        case(
            "8.3.1",
            "an :authority with a path is malformed",
            |s| s.exactly(1, &[METHOD, SCHEME, (":authority", "shop.localhost/x"), PATH]),
            malformed(),
        ),
    ]
}

fn connect() -> Vec<Case> {
    let refused = || or(malformed(), [405, 501, 403].map(Outcome::Answer));
    vec![
        case(
            "8.5",
            "CONNECT is refused, and the connection goes on",
            |s| s.exactly(1, &[(":method", "CONNECT"), (":authority", "shop.localhost:443")]),
            refused(),
        ),
        case(
            "8.5",
            "CONNECT with DATA is refused, and the connection goes on",
            |s| {
                let connect = [(":method", "CONNECT"), (":authority", "shop.localhost:443")];
                s.headers(1, flag::END_HEADERS, crate::http2::fields::block(connect)).data(1, 0, "tunnel").watch(1)
            },
            refused(),
        ),
        case(
            "8.5",
            "CONNECT with :scheme and :path is malformed",
            |s| s.headers(1, flag::END_HEADERS, request("CONNECT", "/", &[])),
            malformed(),
        ),
        case(
            "8.5",
            "CONNECT without :authority is malformed",
            |s| s.exactly(1, &[(":method", "CONNECT")]),
            malformed(),
        ),
        case(
            "8.5",
            "CONNECT with a Content-Length does not take other streams with it",
            |s| {
                let connect = [(":method", "CONNECT"), (":authority", "shop.localhost:443"), ("content-length", "5")];
                s.get(1).headers(3, flag::END_HEADERS, crate::http2::fields::block(connect)).watch(1)
            },
            status(200),
        ),
        case(
            "RFC 9110 9.3.8",
            "TRACE is refused",
            |s| s.headers(1, flag::WHOLE, request("TRACE", "/", &[])),
            status(405),
        ),
    ]
}
