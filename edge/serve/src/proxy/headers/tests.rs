//! Heads before and after the rewriting.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static IDS: LazyLock<Ids> = LazyLock::new(|| Ids::of(&HeaderMap::new(), false));

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    let mut map = HeaderMap::new();
    for (name, value) in lines.iter().map(pair) {
        map.append::<HeaderName>(name, value);
    }
    map
}

fn arrival<'a>(host: &'a str, peer: &str) -> Arrival<'a> {
    let peer: std::net::SocketAddr = peer.parse().unwrap();
    let client = Some(peer.ip().to_canonical());
    Arrival { host, client, ids: &IDS, passing: None, port: None, proxies: &[], scheme: "https" }
}

fn sent(lines: &[(&str, &str)], version: Version) -> HeaderMap {
    request(map(lines), version, &arrival("shop.example", "192.0.2.9:50000"), None).unwrap()
}

fn values<'a>(map: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    map.get_all(name).into_iter().map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn what_belongs_to_the_connection_is_dropped_from_a_request() {
    let map = sent(
        &[
            ("connection", "close, X-Secret-Hop"),
            ("connection", "x-other"),
            ("x-secret-hop", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy", "http://evil"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("expect", "100-continue"),
            ("trailer", "x-sum"),
            ("authorization", "Bearer t"),
            ("accept", "a"),
            ("accept", "b"),
        ],
        Version::HTTP_11,
    );
    let mut names: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "authorization",
            "forwarded",
            "host",
            "traceparent",
            "trailer",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id"
        ]
    );
    assert_eq!(values(&map, "accept"), ["a", "b"]);
}

#[test]
fn te_keeps_trailers_and_nothing_else() {
    let map = sent(&[("te", "gzip;q=0.5, Trailers")], Version::HTTP_2);
    assert_eq!(values(&map, "te"), ["trailers"]);
    assert_eq!(values(&map, "connection"), ["te"]);
}

#[test]
fn a_clients_own_word_about_itself_is_dropped() {
    let map = sent(
        &[
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-prefix", "/evil"),
            ("x-forwarded-user", "root"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded_for", "6.6.6.6"),
            ("x_real_ip", "6.6.6.6"),
            ("x-real.ip", "6.6.6.6"),
            ("true.client.ip", "6.6.6.6"),
            ("x!forwarded~for", "6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-client-ip", "6.6.6.6"),
            ("true-client-ip", "6.6.6.6"),
            ("x-request-id", "6.6.6.6"),
            ("X_Request_Id", "6.6.6.6"),
            ("traceparent", "00-6.6.6.6"),
            ("tracestate", "a=6.6.6.6"),
            ("x-forwarder", "kept"),
            ("connection", "x-forwarded-for, host"),
            ("host", "evil"),
        ],
        Version::HTTP_11,
    );
    assert_eq!(values(&map, "host"), ["shop.example"]);
    assert_eq!(values(&map, "x-forwarded-for"), ["192.0.2.9"]);
    assert_eq!(values(&map, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&map, "x-forwarded-host"), ["shop.example"]);
    assert!(values(&map, "x-forwarded-port").is_empty());
    assert_eq!(values(&map, "forwarded"), ["for=192.0.2.9;host=shop.example;proto=https"]);
    assert_eq!(values(&map, "x-forwarder"), ["kept"]);
    assert!(map.values().all(|value| !value.to_str().unwrap().contains("6.6.6.6")), "{map:?}");
    assert_eq!(map.len(), 9, "{map:?}");
}

/// A client with direct access to a backend can write these fields.
#[test]
fn fields_by_which_backends_believe_who_asks_pass_from_a_trusted_proxy_alone() {
    #[rustfmt::skip]
    let named = [
        "Client-IP", "CF-Connecting-IP", "X-Original-URL", "X-Rewrite-URL", "X-Original-Host", "X-Scheme",
        "Front-End-Https", "X-Real-IP", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP",
        "X-Original-Forwarded-For", "X-Remote-Addr", "Remote-User", "X-Remote-User", "X-WEBAUTH-USER", "Client-Cert",
        "X-SSL-Client-Verify", "ssl-client-subject-dn", "X-MS-CLIENT-PRINCIPAL-NAME", "X-Auth-Request-Email",
        "X-Host", "X-Script-Name", "SCRIPT_NAME", "path_info", "client_ip", "CF.Connecting.IP", "x_original_url",
        "CloudFront-Forwarded-Proto", "X-Forward-Proto", "X-Client-Proto", "Url-Scheme", "X-Https", "SSL-Https",
        "HTTP_CLIENT_IP", "HTTP_X_FORWARDED_FOR", "EO-Client-IP", "Ali-Cdn-Real-Ip", "Cdn-Src-Ip", "X-Forward-For",
        "Akamai-Client-IP", "SM_USER", "Sm-User", "SM_USERDN", "OAM_REMOTE_USER", "X-Vouch-User", "X-Auth-User",
        "X-Auth-Username", "X-Token-Subject", "Impersonate-User", "Impersonate-Group", "Impersonate-Uid",
        "Impersonate-Extra-Scopes", "X-MS-TOKEN-AAD-ID-TOKEN", "X-TLS-Client-Cert", "X-Client-Verify", "Client-Verify",
        "X-Client-S-DN", "X-Ms-Forwarded-Client-Cert",
    ];
    let listed = claims::ABOUT_VISITOR.iter().copied();
    let of_prefixes = claims::ABOUT_VISITOR_PREFIXES.map(|prefix| format!("{prefix}x"));
    let all = named.into_iter().chain(listed).map(str::to_owned).chain(of_prefixes);
    let trusted = Ids::of(&HeaderMap::new(), true);
    for name in all {
        let lines = [(name.as_str(), "6.6.6.6"), ("x-own", "kept")];
        let from = arrival("shop.example", "192.0.2.9:1");
        for (ids, expected) in [(&*IDS, false), (&trusted, true)] {
            let from = Arrival { ids, ..from };
            let map = request(map(&lines), Version::HTTP_11, &from, None).unwrap();
            assert_eq!(map.contains_key(name.to_ascii_lowercase()), expected, "{name}");
            assert_eq!(values(&map, "x-own"), ["kept"]);
        }
    }
    // Names with only a similar beginning or end belong to the application.
    let own = ["client-ips", "x-client-id", "x-schemes", "my-client-ip", "x-hostname", "remote", "x-rewrite"];
    for name in own.into_iter().chain(["x-auth-token", "x-token", "x-forwarder", "x-tls-version"]) {
        assert_eq!(values(&sent(&[(name, "1")], Version::HTTP_11), name), ["1"], "{name}");
    }
}

#[test]
fn an_ipv6_client_is_quoted_in_forwarded_alone() {
    let from = arrival("shop.example:8443", "[2001:db8::17]:4711");
    let map = request(HeaderMap::new(), Version::HTTP_11, &from, None).unwrap();
    assert_eq!(values(&map, "forwarded"), [r#"for="[2001:db8::17]";host="shop.example:8443";proto=https"#]);
    assert_eq!(values(&map, "x-forwarded-for"), ["2001:db8::17"]);
    let from = arrival("[::1]", "[::ffff:192.0.2.1]:1");
    let map = request(HeaderMap::new(), Version::HTTP_11, &from, None).unwrap();
    assert_eq!(values(&map, "forwarded"), [r#"for=192.0.2.1;host="[::1]";proto=https"#]);
}

#[test]
fn the_port_is_the_operators_word_whatever_the_host_says() {
    for host in ["shop.example", "shop.example:443", "shop.example:1", "[::1]:1"] {
        for (port, scheme, expected) in
            [(None, "https", None), (Some(8443), "https", Some("8443")), (Some(443), "http", None)]
        {
            let from = Arrival { port, scheme, ..arrival(host, "192.0.2.9:1") };
            let map = request(map(&[("x-forwarded-port", "1")]), Version::HTTP_11, &from, None).unwrap();
            assert_eq!(values(&map, "x-forwarded-port"), expected.into_iter().collect::<Vec<_>>(), "{host} {scheme}");
        }
    }
}

#[test]
fn trusted_proxies_stand_between_the_client_and_the_edge() {
    let proxies = ["fd00::1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
    let from = Arrival { proxies: &proxies, scheme: "http", ..arrival("shop.example", "192.0.2.9:1") };
    let map = request(map(&[("x-forwarded-for", "6.6.6.6")]), Version::HTTP_11, &from, None).unwrap();
    assert_eq!(values(&map, "x-forwarded-for"), ["192.0.2.9, fd00::1, 10.0.0.1"]);
    assert_eq!(values(&map, "x-forwarded-proto"), ["http"]);
    assert_eq!(
        values(&map, "forwarded"),
        [r#"for=192.0.2.9;proto=http, for="[fd00::1]", for=10.0.0.1;host=shop.example;proto=https"#]
    );
}

#[test]
fn the_state_of_a_trace_goes_on_with_its_trace_alone() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let came = map(&[("traceparent", trace), ("tracestate", "a=1"), ("tracestate", "b=2"), ("x-request-id", "mine")]);
    for is_trusted in [false, true] {
        let ids = Ids::of(&came, is_trusted);
        let from = Arrival { ids: &ids, ..arrival("shop.example", "192.0.2.9:1") };
        let map = request(came.clone(), Version::HTTP_11, &from, None).unwrap();
        assert_eq!(values(&map, "tracestate"), if is_trusted { vec!["a=1", "b=2"] } else { Vec::new() });
        assert_eq!(values(&map, "x-request-id") == ["mine"], is_trusted);
        assert_ne!(values(&map, "traceparent"), [trace]);
        assert_eq!(values(&map, "traceparent").len(), 1);
    }
}

#[test]
fn cookie_crumbs_are_joined_for_http_2_alone() {
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
    assert_eq!(values(&sent(&crumbs, Version::HTTP_2), "cookie"), ["a=1; b=2; c=3"]);
    assert_eq!(values(&sent(&crumbs, Version::HTTP_11), "cookie").len(), 3);
    assert_eq!(values(&sent(&crumbs[..1], Version::HTTP_2), "cookie"), ["a=1"]);
}

#[test]
fn via_is_appended_and_ends_a_circle() {
    let passed = sent(&[("via", "1.1 devanture, 1.0 fred (Apache)")], Version::HTTP_2);
    assert_eq!(values(&passed, "via"), ["1.1 devanture, 1.0 fred (Apache)", "2 devanture"]);
    let round = [("via", "2 devanture, 1.1 devanture"), ("via", "1.1 devanture, 1.1 devanture")];
    let error = request(map(&round), Version::HTTP_11, &arrival("h", "1.1.1.1:1"), None).unwrap_err();
    assert!(matches!(error, Error::Loop(4)), "{error}");
}

#[test]
fn an_upgrade_is_requested_in_both_fields_and_never_to_http() {
    let upgrade_of =
        |lines: &[(&str, &str)], version| upgrade(&map(lines), version).map(|value| value.to_str().unwrap().to_owned());
    let websocket = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
    assert_eq!(upgrade_of(&websocket, Version::HTTP_11).as_deref(), Some("websocket"));
    assert_eq!(upgrade_of(&websocket, Version::HTTP_2), None);
    assert_eq!(upgrade_of(&websocket, Version::HTTP_10), None);
    assert_eq!(upgrade_of(&websocket[1..], Version::HTTP_11), None);
    let h2c = [("connection", "upgrade, http2-settings"), ("upgrade", "h2c")];
    assert_eq!(upgrade_of(&h2c, Version::HTTP_11), None);
    let mixed = [("connection", "upgrade"), ("upgrade", "H2C, TLS/1.0, HTTP/2.0"), ("upgrade", "websocket, foo/1")];
    assert_eq!(upgrade_of(&mixed, Version::HTTP_11).as_deref(), Some("websocket, foo/1"));
    let wanted = HeaderValue::from_static("websocket, foo/1");
    assert!(switches_to(&map(&[("upgrade", "WebSocket")]), &wanted));
    assert!(!switches_to(&map(&[("upgrade", "h2c")]), &wanted));
    assert!(!switches_to(&map(&[]), &wanted));
}

#[test]
fn what_belongs_to_the_connection_is_dropped_from_an_answer() {
    let mut headers = map(&[
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5, max=9"),
        ("proxy-authenticate", "Basic"),
        ("transfer-encoding", "chunked"),
        ("content-length", "7"),
        ("upgrade", "h2c"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("server", "gunicorn"),
    ]);
    assert_eq!(keep_alive_s(&headers), Some(5));
    answer(&mut headers, false);
    assert_eq!(headers, map(&[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("server", "gunicorn")]));
    let mut plain = map(&[("content-length", "7")]);
    answer(&mut plain, false);
    assert_eq!(plain, map(&[("content-length", "7")]));
    let mut upgraded = map(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("content-length", "0")]);
    answer(&mut upgraded, true);
    assert_eq!(upgraded, map(&[("connection", "upgrade"), ("upgrade", "websocket")]));
}

#[test]
fn only_chunked_alone_is_a_plain_coding() {
    assert!(is_plainly_coded(&map(&[])));
    assert!(is_plainly_coded(&map(&[("transfer-encoding", " Chunked ")])));
    for codings in [&["gzip, chunked"] as &[&str], &["chunked", "chunked"], &["xchunked"], &["identity"], &[""]] {
        let lines: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
        assert!(!is_plainly_coded(&map(&lines)), "{codings:?}");
    }
}

#[test]
fn max_forwards_is_counted_down_for_options_and_trace() {
    let mut headers = map(&[("max-forwards", "2")]);
    assert!(count_down(&Method::OPTIONS, &mut headers));
    assert_eq!(values(&headers, "max-forwards"), ["1"]);
    assert!(count_down(&Method::GET, &mut headers));
    assert_eq!(values(&headers, "max-forwards"), ["1"]);
    assert!(!count_down(&Method::TRACE, &mut map(&[("max-forwards", "0")])));
}

#[test]
fn a_host_that_is_none_is_refused() {
    for host in ["", "a\r\nb", "a\0"] {
        let error = request(HeaderMap::new(), Version::HTTP_11, &arrival(host, "1.1.1.1:1"), None).unwrap_err();
        assert!(matches!(error, Error::BadRequest(_)), "{host:?}");
    }
}

proptest! {
    #[test]
    fn no_spelling_of_a_forwarding_field_comes_from_the_client(
        name in "(x[-_]forwarded[-_](for|proto|host|port|[a-z]{1,6})|forwarded|x[-_]real[-_]ip)",
        listed: bool,
    ) {
        let mut lines = vec![(name.as_str(), "spoofed")];
        if listed {
            lines.push(("connection", name.as_str()));
        }
        let map = sent(&lines, Version::HTTP_11);
        prop_assert!(map.values().all(|value| value != "spoofed"));
        prop_assert!(map.contains_key("x-forwarded-for") && map.contains_key("forwarded"));
    }

    #[test]
    fn a_host_in_forwarded_can_be_read_back(host in "[ -~]{1,40}") {
        let from = arrival(&host, "192.0.2.9:1");
        let text = forwarded(&from);
        let written = text.strip_prefix("for=192.0.2.9;host=").unwrap().strip_suffix(";proto=https").unwrap();
        let read = match written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => {
                let mut characters = quoted.chars();
                let mut read = String::new();
                while let Some(character) = characters.next() {
                    read.push(if character == '\\' { characters.next().unwrap() } else { character });
                }
                read
            }
            None => written.to_owned(),
        };
        prop_assert_eq!(read, host);
    }
}

#[test]
fn a_request_that_no_address_sent_is_from_nobody() {
    let arrival = Arrival { client: None, ..arrival("example.org", "192.0.2.9:1") };
    let client = map(&[("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1")]);
    let out = request(client, Version::HTTP_11, &arrival, None).unwrap();
    assert_eq!(out.get("x-forwarded-for"), None);
    let forwarded: Vec<_> = out.get_all("forwarded").into_iter().collect();
    assert_eq!(forwarded, ["for=unknown;host=example.org;proto=https"]);
}
