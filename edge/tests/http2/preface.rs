//! Start of a connection: RFC 9113 sections 3.2 to 3.4.

use crate::http2::table::*;
use crate::http2::wire::{MAGIC, Script, flag, kind, setting};
use crate::http2::world::World;

pub(crate) fn cases() -> Vec<Case> {
    let no_preface = || or(connection_error(PROTOCOL_ERROR), [Outcome::Closed]);
    vec![
        bare_talk(
            "3.4",
            "the edge says SETTINGS before the client says anything",
            talking!(|c, _w| {
                c.settings_of_edge().await;
                Outcome::Holds
            }),
            holds(),
        ),
        bare(
            "3.4",
            "a request may come with the preface, before the edge's settings are known",
            |s| s.raw(MAGIC).settings(&[]).get(1),
            status(200),
        ),
        bare_talk(
            "3.4",
            "a preface that comes byte by byte is one",
            talking!(|c, _w| {
                for byte in &Script::preface().bytes {
                    c.send(&Script::default().raw([*byte])).await;
                }
                c.still_serves(1).await
            }),
            holds(),
        ),
        bare(
            "3.4",
            "a preface of HTTP/1.1 is an error",
            |s| s.raw("GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\n"),
            no_preface(),
        ),
        bare(
            "3.4",
            "a preface with one wrong byte is an error",
            |s| s.raw(&MAGIC[..23]).raw("!").settings(&[]),
            no_preface(),
        ),
        bare("3.4", "frames without the preface are an error", |s| s.settings(&[]).get(1), no_preface()),
        bare("3.4", "HEADERS before the first SETTINGS are an error", |s| s.raw(MAGIC).get(1).watch(0), no_preface()),
        bare("3.4", "PING before the first SETTINGS is an error", |s| s.raw(MAGIC).ping([1; 8]), no_preface()),
        bare(
            "3.4",
            "an acknowledgement is not the first SETTINGS",
            |s| s.raw(MAGIC).frame(kind::SETTINGS, flag::ACK, 0, []).get(1).watch(0),
            no_preface(),
        ),
        bare(
            "3.4",
            "a mistake in the first SETTINGS is an error",
            |s| s.raw(MAGIC).settings(&[(setting::ENABLE_PUSH, 7)]),
            connection_error(PROTOCOL_ERROR),
        ),
        bare_talk(
            "3.4",
            "a client that closes after the preface is no trouble",
            talking!(|c, w| {
                c.send(&Script::preface()).await;
                c.finish().await;
                while c.next().await.is_some() {}
                let mut other = w.connect().await;
                other.send(&Script::preface()).await;
                other.still_serves(1).await
            }),
            holds(),
        ),
        bare_talk(
            "3.2",
            "a client that offers h2 and http/1.1 gets h2",
            talking!(|c, w| {
                assert_eq!(c.session().alpn_protocol(), Some(&b"h2"[..]));
                let both =
                    w.connect_as("shop.localhost", &[b"http/1.1", b"h2"], rustls::DEFAULT_VERSIONS).await.unwrap();
                assert_eq!(both.session().alpn_protocol(), Some(&b"h2"[..]));
                Outcome::Holds
            }),
            holds(),
        ),
        bare_talk(
            "3.2",
            "a client that offers no protocol is not spoken to in HTTP/2",
            talking!(|_c, w| {
                for protocols in [&[][..], &[&b"http/1.1"[..]]] {
                    let mut c = w.connect_as("shop.localhost", protocols, rustls::DEFAULT_VERSIONS).await.unwrap();
                    let request = "GET / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: close\r\n\r\n";
                    assert!(c.text_for(request).await.starts_with("HTTP/1.1 200 "));
                }
                Outcome::Holds
            }),
            holds(),
        ),
        bare_talk(
            "3.1",
            "an upgrade to h2c is not taken on a connection of HTTP/1.1",
            talking!(|_c, w| {
                let mut c = w.connect_as("shop.localhost", &[b"http/1.1"], rustls::DEFAULT_VERSIONS).await.unwrap();
                let request = "GET / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: upgrade, http2-settings, close\r\n\
                upgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
                let text = c.text_for(request).await;
                assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}
