//! The client is determined by trusted proxies only, never by the client's own fields.

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;

const PROXY: &str = "10.0.0.1";

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn trusted() -> Vec<AddressBlock> {
    ["10.0.0.0/8", "fd00::/8"].map(|block| block.parse().unwrap()).into()
}

fn chain(lines: &[(&str, &str)]) -> Chain {
    Chain::of(&headers(lines), PROXY.parse().unwrap(), &trusted())
}

/// Returns the client, and the proxies after the client.
fn sent_on(lines: &[(&str, &str)]) -> (String, Vec<String>) {
    let chain = chain(lines);
    assert!(chain.is_trusted);
    (chain.client.to_string(), chain.proxies.iter().map(ToString::to_string).collect())
}

#[test]
fn the_first_address_from_the_right_that_is_not_trusted_is_the_client() {
    for (list, client, proxies) in [
        ("203.0.113.9", "203.0.113.9", &[PROXY][..]),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9", &[PROXY]),
        ("10.9.9.9, 203.0.113.9 , 10.0.0.2", "203.0.113.9", &["10.0.0.2", PROXY]),
        ("junk, , 203.0.113.9:4711,", "203.0.113.9", &[PROXY]),
        ("[2001:db8::1]:4711, fd00::1", "2001:db8::1", &["fd00::1", PROXY]),
        ("2001:db8::1", "2001:db8::1", &[PROXY]),
        ("::ffff:203.0.113.9", "203.0.113.9", &[PROXY]),
        // All are trusted: the farthest hop is the client.
        ("10.0.0.3, 10.0.0.2", "10.0.0.3", &["10.0.0.2", PROXY]),
        // Unreadable: the author of the entry is the client.
        ("203.0.113.9, junk", PROXY, &[]),
        ("203.0.113.9, unknown", PROXY, &[]),
        ("203.0.113.9:port", PROXY, &[]),
        ("203.0.113.999", PROXY, &[]),
        (", ,", PROXY, &[]),
        ("", PROXY, &[]),
    ] {
        let expected = (client.to_owned(), proxies.iter().map(|proxy| (*proxy).to_owned()).collect());
        assert_eq!(sent_on(&[("x-forwarded-for", list)]), expected, "{list}");
    }
    let lines = [("x-forwarded-for", "é"), ("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "10.0.0.2")];
    assert_eq!(sent_on(&lines).0, "203.0.113.9");
}

#[test]
fn forwarded_is_read_by_its_grammar() {
    for (line, client) in [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=\"203.0.113.9:47011\";Proto=http;by=_edge", "203.0.113.9"),
        ("for=6.6.6.6, for=\"[2001:db8::1]\";host=\"a, for=7.7.7.7\"", "2001:db8::1"),
        ("for=\"[2001:db8::1]:_hidden\" ; proto=https , for=10.0.0.2;;", "2001:db8::1"),
        ("for=\"203.0.\\113.9\"", "203.0.113.9"),
        (", for=203.0.113.9 ,,", "203.0.113.9"),
        // An open quote of a client hides nothing.
        ("for=6.6.6.6;by=\", for=203.0.113.9", PROXY),
        ("for=6.6.6.6;by=\", for=203.0.113.9;host=\"x\"", PROXY),
        ("for=unknown", PROXY),
        ("for=_hidden", PROXY),
        ("proto=https", PROXY),
        ("for=203.0.113.9;for=6.6.6.6", PROXY),
        ("for=2001:db8::1", PROXY),
        ("for = 203.0.113.9", PROXY),
        ("for=203.0.113.9 x", PROXY),
        ("for=\"\"", PROXY),
        ("203.0.113.9", PROXY),
    ] {
        assert_eq!(sent_on(&[("forwarded", line)]).0, client, "{line}");
    }
    let lines = [("forwarded", "for=\""), ("forwarded", "for=203.0.113.9")];
    assert_eq!(sent_on(&lines).0, "203.0.113.9", "a line of the client's own spoils no other");
}

#[test]
fn two_fields_that_name_different_clients_name_none() {
    let both = |list, forwarded| sent_on(&[("x-forwarded-for", list), ("forwarded", forwarded)]).0;
    assert_eq!(both("203.0.113.9", "for=203.0.113.9"), "203.0.113.9");
    assert_eq!(both("6.6.6.6, 203.0.113.9", "for=203.0.113.9, for=10.0.0.2"), "203.0.113.9");
    assert_eq!(both("203.0.113.9", "for=6.6.6.6"), PROXY);
    assert_eq!(both("203.0.113.9", "junk"), PROXY);
}

#[test]
fn a_scheme_is_that_of_the_client_and_one_of_two() {
    for (name, value, scheme) in [
        ("x-forwarded-proto", "http", "http"),
        ("x-forwarded-proto", " HTTPS ", "https"),
        ("x-forwarded-proto", "http, https", "https"),
        ("x-forwarded-proto", "gopher", "https"),
        ("forwarded", "for=203.0.113.9;proto=http, for=10.0.0.2;proto=https", "http"),
        ("forwarded", "for=203.0.113.9;proto=https, for=10.0.0.2;proto=http", "https"),
    ] {
        assert_eq!(chain(&[(name, value)]).scheme, scheme, "{name}: {value}");
    }
    let lines = [("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")];
    assert_eq!(chain(&lines).scheme, "https");
}

#[test]
fn nobody_is_believed_who_is_not_trusted() {
    let lines =
        headers(&[("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.1"), ("x-forwarded-proto", "http")]);
    let stranger = "192.0.2.9".parse().unwrap();
    assert_eq!(Chain::of(&lines, stranger, &trusted()), Chain::direct(stranger));
    assert_eq!(Chain::of(&lines, PROXY.parse().unwrap(), &[]), Chain::direct(PROXY.parse().unwrap()));
}

#[test]
fn a_chain_without_an_end_is_not_believed() {
    let long = |count: usize| format!("203.0.113.9{}", ", 10.0.0.2".repeat(count));
    assert_eq!(sent_on(&[("x-forwarded-for", &long(PROXIES_MAX - 1))]).1.len(), PROXIES_MAX);
    assert_eq!(sent_on(&[("x-forwarded-for", &long(PROXIES_MAX))]).0, PROXY);
}

fn written(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (IpAddr::V4(four), None) => format!("for={four}"),
        (IpAddr::V4(four), Some(port)) => format!("for=\"{four}:{port}\";proto=http"),
        (IpAddr::V6(six), None) => format!("For=\"[{six}]\""),
        (IpAddr::V6(six), Some(port)) => format!("host=\"a;b,\\\"\";for=\"[{six}]:{port}\""),
    }
}

proptest! {
    #[test]
    fn what_trusted_proxies_write_is_read_whatever_the_client_wrote_before(
        client: IpAddr,
        port: Option<u16>,
        hosts in proptest::collection::vec(any::<u8>(), 0..5),
        tale in "[ -~]{0,40}",
        in_lines: bool,
    ) {
        let blocks = trusted();
        prop_assume!(!blocks.iter().any(|block| block.contains(client)));
        let proxies: Vec<IpAddr> = hosts.iter().map(|host| IpAddr::from([10, 1, 1, *host])).collect();
        let hops = || std::iter::once(client).chain(proxies.iter().copied());
        let peer: IpAddr = PROXY.parse().unwrap();
        let expected: Vec<IpAddr> = proxies.iter().copied().chain([peer]).collect();

        let list: Vec<String> = hops().map(|hop| hop.to_string()).collect();
        let list = list.join(", ");
        let lines = match in_lines {
            true => headers(&[("x-forwarded-for", &tale), ("x-forwarded-for", &list)]),
            false => headers(&[("x-forwarded-for", &format!("{tale},{list}"))]),
        };
        let found = Chain::of(&lines, peer, &blocks);
        prop_assert_eq!((found.client, &found.proxies), (client.to_canonical(), &expected));

        let elements: Vec<String> = hops().map(|hop| written(hop, port)).collect();
        let elements = elements.join(", ");
        let lines = match in_lines {
            true => headers(&[("forwarded", &tale), ("forwarded", &elements)]),
            false => headers(&[("forwarded", &elements)]),
        };
        let found = Chain::of(&lines, peer, &blocks);
        prop_assert_eq!((found.client, &found.proxies), (client.to_canonical(), &expected));
    }

    #[test]
    fn whatever_a_client_writes_before_an_element_no_other_client_comes_of_it(
        tale in "(for=6\\.6\\.6\\.6|by=|host=|[\",;=\\\\ a]){0,12}",
    ) {
        let lines = headers(&[("forwarded", &format!("{tale}, for=203.0.113.9;host=\"shop.example:8443\""))]);
        let client = Chain::of(&lines, PROXY.parse().unwrap(), &trusted()).client.to_string();
        prop_assert!(client == "203.0.113.9" || client == PROXY, "{}", client);
    }

    #[test]
    fn no_bytes_break_the_reading(list in proptest::collection::vec(any::<u8>(), 0..60), forwarded in ".{0,60}") {
        let mut map = HeaderMap::new();
        for (name, bytes) in [("x-forwarded-for", list.as_slice()), ("forwarded", forwarded.as_bytes())] {
            if let Ok(value) = HeaderValue::from_bytes(bytes) {
                map.append(name, value);
            }
        }
        let chain = Chain::of(&map, PROXY.parse().unwrap(), &trusted());
        prop_assert!(chain.proxies.len() <= PROXIES_MAX);
        prop_assert_eq!(chain.proxies.is_empty(), chain.client.to_string() == PROXY && chain.proxies.is_empty());
    }
}
