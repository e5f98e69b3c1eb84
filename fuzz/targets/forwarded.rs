//! `X-Forwarded-For` and `Forwarded`: the client is always the peer's address or an address named by the fields, and a
//! separate line by a trusted proxy is parsed.

#![no_main]

use devanture_serve::proxy::forwarded::{Chain, PROXIES_MAX};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<&[u8]>, Vec<&[u8]>)| {
    let (list, forwarded) = input;
    let (peer, client) = ([10, 0, 0, 1].into(), "203.0.113.9");
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    let mut headers = HeaderMap::new();
    for (name, lines) in [("x-forwarded-for", list), ("forwarded", forwarded)] {
        for value in lines.into_iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
            headers.append(name, value);
        }
    }
    let chain = Chain::of(&headers, peer, &trusted);
    assert!(chain.is_trusted && chain.proxies.len() <= PROXIES_MAX);
    assert!(chain.proxies.iter().all(|proxy| trusted[0].contains(*proxy)));
    assert!(chain.client == peer || chain.proxies.last() == Some(&peer));

    headers.append("x-forwarded-for", HeaderValue::from_static(client));
    headers.append("forwarded", HeaderValue::from_static("for=203.0.113.9"));
    let chain = Chain::of(&headers, peer, &trusted);
    assert_eq!((chain.client.to_string().as_str(), chain.proxies.as_slice()), (client, &[peer][..]));
});
