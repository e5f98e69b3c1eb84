//! Fields from which backends, and their frameworks, read the client, the client's address or the original request.
//!
//! A visitor can send all of these fields. The edge replaces the fields that the edge writes; the rest pass only from a
//! trusted proxy, which has to set or remove the fields.

use super::in_variables;

/// Fields that only the edge may send to a backend.
const OF_THE_EDGE: [&str; 6] = ["forwarded", "host", "traceparent", "tracestate", "x-forwarded", "x-request-id"];
/// Prefixes of names that only the edge may send.
const OF_THE_EDGE_PREFIXES: [&str; 1] = ["x-forwarded-"];

/// Fields that servers in front of a backend write, and that a backend may believe.
#[rustfmt::skip]
pub(super) const ABOUT_VISITOR: [&str; 77] = [
    // The address of the visitor, under the names of providers and servers.
    "akamai-client-ip", "ali-cdn-real-ip", "cdn-src-ip", "cf-connecting-ip", "cf-connecting-ipv6", "cf-ipcountry",
    "cf-pseudo-ipv4", "client-ip", "do-connecting-ip", "eo-client-ip", "fastly-client-ip", "fly-client-ip",
    "forwarded-for", "http-client-ip", "incap-client-ip", "remote-addr", "remote-host",
    "true-client-ip", "wl-proxy-client-ip", "x-azure-clientip", "x-azure-socketip", "x-client-ip",
    "x-cluster-client-ip", "x-envoy-external-address", "x-envoy-internal", "x-nf-client-connection-ip",
    "x-originating-ip", "x-proxyuser-ip", "x-sucuri-clientip", "x-vercel-forwarded-for", "x-vercel-proxied-for",
    // The scheme of the request, and whether TLS was used.
    "cf-visitor", "cloudfront-forwarded-proto", "fastly-ssl", "forwarded-proto", "front-end-https", "ssl-https",
    "url-scheme", "wl-proxy-ssl", "x-arr-ssl", "x-client-proto", "x-https", "x-scheme", "x-url-scheme",
    // The requested host and path (IIS, Symfony, WSGI, Envoy, Traefik).
    "path-info", "script-name", "x-envoy-original-host", "x-envoy-original-path", "x-host", "x-http-host-override",
    "x-replaced-path", "x-rewrite-url", "x-script-name", "x-waws-unencoded-url",
    // The identity of the client: by a certificate (RFC 9440 §4), or by a login server.
    "cf-access-authenticated-user-email", "client-cert", "client-cert-chain", "client-verify", "oam-remote-user",
    "remote-email", "remote-groups", "remote-name", "remote-user", "x-anonymous-consumer", "x-arr-clientcert",
    "x-auth-user", "x-auth-username", "x-azure-fdid", "x-client-dn", "x-client-i-dn", "x-client-s-dn",
    "x-client-verify", "x-credential-identifier", "x-credential-username", "x-ms-forwarded-client-cert",
    "x-token-subject", "x-userinfo",
];
/// Prefixes of such names.
pub(super) const ABOUT_VISITOR_PREFIXES: [&str; 28] = [
    "cloudfront-viewer-",
    "fly-forwarded-",
    "http-x-forwarded-",
    "impersonate-",
    "oidc-claim-",
    "sm-user",
    "ssl-client-",
    "tailscale-user-",
    "x-amzn-mtls-clientcert",
    "x-amzn-oidc-",
    "x-appengine-",
    "x-auth-request-",
    "x-authenticated-",
    "x-authentik-",
    "x-client-cert",
    "x-consumer-",
    "x-forward-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-original-",
    "x-pomerium-",
    "x-real-",
    "x-remote-",
    "x-ssl-",
    "x-tls-client-",
    "x-vouch-",
    "x-webauth-",
];

/// Returns true if only the edge may send the field `name` to a backend, in any spelling that is equal to some server.
pub(crate) fn is_the_edges(name: &str) -> bool {
    is_one_of(name, &OF_THE_EDGE, &OF_THE_EDGE_PREFIXES)
}

/// Returns true if only a trusted proxy may send the field `name` to a backend, in any such spelling.
pub(crate) fn is_about_visitor(name: &str) -> bool {
    is_one_of(name, &ABOUT_VISITOR, &ABOUT_VISITOR_PREFIXES)
}

fn is_one_of(name: &str, names: &[&str], prefixes: &[&str]) -> bool {
    let begins = |known: &str| name.bytes().zip(known.bytes()).all(|(byte, other)| in_variables(byte) == other);
    names.iter().any(|known| known.len() == name.len() && begins(known))
        || prefixes.iter().any(|known| known.len() <= name.len() && begins(known))
}
