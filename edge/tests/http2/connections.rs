//! Requests permitted on a connection: RFC 9113 sections 9.1.1 to 9.2.2, RFC 9110 section 15.5.20.

use crate::http2::table::*;
use crate::http2::wire::{Script, request};
use crate::http2::world::World;

/// GET request for the front page of a host.
fn for_host(s: Script, host: &str) -> Script {
    s.exactly(1, &[(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", "/")])
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case(
            "9.1.1",
            "a host of the edge that the certificate does not name is misdirected",
            |s| for_host(s, "other.localhost"),
            status(421),
        ),
        case(
            "9.1.1",
            "a host that nobody has is missing, also where the certificate does not name it",
            |s| for_host(s, "nobody.example"),
            or(status(404), [Outcome::Answer(421)]),
        ),
        case(
            "9.1.1",
            "a misdirected Host is like a misdirected :authority",
            |s| s.exactly(1, &[(":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", "other.localhost")]),
            status(421),
        ),
        case(
            "9.1.1",
            "a misdirected request does not reach a backend",
            |s| {
                let fields = [
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":authority", "other.localhost"),
                    (":path", "/api/echo"),
                ];
                s.exactly(1, &fields)
            },
            status(421),
        ),
        case(
            "9.1.1",
            "the host of the certificate is known whatever its case, port and final dot",
            |s| for_host(s, "SHOP.localhost.:8443"),
            status(200),
        ),
        talk(
            "9.1.1",
            "after a misdirected request, the connection serves its own host",
            talking!(|c, _w| {
                c.send(&for_host(Script::default(), "other.localhost")).await;
                let answer = c.answer(1).await;
                assert_eq!(answer.status, 421);
                assert!(!String::from_utf8_lossy(&answer.body).contains("the other app"));
                c.still_serves(3).await
            }),
            holds(),
        ),
        talk(
            "9.1.1",
            "each host is served on a connection of its own",
            talking!(|_c, w| {
                let mut other = w.connect_as("other.localhost", &[b"h2"], rustls::DEFAULT_VERSIONS).await.unwrap();
                other.send(&for_host(Script::preface(), "other.localhost")).await;
                assert_eq!(other.answer(1).await.body, b"the other app");
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "9.1.1",
            "what is misdirected over HTTP/1.1 is misdirected too",
            talking!(|_c, w| {
                let mut c = w.connect_as("shop.localhost", &[b"http/1.1"], rustls::DEFAULT_VERSIONS).await.unwrap();
                let text = c.text_for("GET / HTTP/1.1\r\nhost: other.localhost\r\nconnection: close\r\n\r\n").await;
                assert!(text.starts_with("HTTP/1.1 421 "), "{text}");
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "9.2",
            "TLS 1.3 is spoken",
            talking!(|c, _w| {
                assert_eq!(c.session().protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
                c.still_serves(1).await
            }),
            holds(),
        ),
        talk(
            "9.2.2",
            "TLS 1.2 is spoken, with a cipher suite that HTTP/2 allows",
            talking!(|_c, w| {
                let mut c = w.connect_as("shop.localhost", &[b"h2"], &[&rustls::version::TLS12]).await.unwrap();
                let suite = format!("{:?}", c.session().negotiated_cipher_suite().unwrap().suite());
                assert!(suite.starts_with("TLS_ECDHE_") && !suite.contains("CBC"), "{suite}");
                c.send(&Script::preface()).await;
                c.still_serves(1).await
            }),
            holds(),
        ),
        talk(
            "9.2",
            "a host that nobody has gets no handshake, where the authority is local",
            talking!(|_c, w| {
                let connected = w.connect_as("nobody.localhost", &[b"h2"], rustls::DEFAULT_VERSIONS).await;
                assert!(connected.is_err());
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "9.1",
            "a connection serves one request after the other for as long as the client likes",
            talking!(|c, _w| {
                for number in 0..300 {
                    c.still_serves(number * 2 + 1).await;
                }
                c.send(&Script::default().headers(
                    601,
                    crate::http2::wire::flag::WHOLE,
                    request("GET", "/missing", &[]),
                ))
                .await;
                assert_eq!(c.answer(601).await.status, 404);
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}
