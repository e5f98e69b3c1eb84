//! Media types of well-known documents (RFC 8615) without a file ending, by their specifications.
//!
//! The list has the documents of the IANA registry with a single specified type, and a few unregistered ones in use. A
//! document with an ending, such as `nostr.json`, is known by the ending; a document of open type, such as the proof of
//! an authority, stays unknown.

/// The folder of all documents.
const FOLDER: &str = ".well-known/";

const JSON: &str = "application/json";

/// The type of each document, and of all paths below its name: RFC 8414 §3.1 appends the path of an issuer to the name
/// of its metadata, and other specifications do the same.
#[rustfmt::skip]
const DOCUMENTS: [(&str, &str); 43] = [
    ("api-catalog",                        "application/linkset+json"),            // RFC 9727 §4.1
    ("apple-app-site-association",         JSON),
    ("atproto-did",                        "text/plain"),
    ("authzen-configuration",              JSON),
    ("browserid",                          JSON),
    ("com.apple.remotemanagement",         JSON),
    ("core",                               "application/link-format"),             // RFC 6690 §4
    ("dnt",                                "application/tracking-status+json"),    // Tracking Preference Expression §6.4
    ("gnap-as-rs",                         JSON),                                  // RFC 9767 §3.1
    ("gs1resolver",                        JSON),
    ("host-meta",                          "application/xrd+xml"),                 // RFC 6415 §2
    ("http-message-signatures-directory",  "application/http-message-signatures-directory+json"),
    ("http-opportunistic",                 JSON),                                  // RFC 8164 §2.3
    ("jmap",                               JSON),                                  // RFC 8620 §2
    ("jwt-vc-issuer",                      JSON),
    ("keysend",                            JSON),
    ("lnurlp",                             JSON),
    ("matrix",                             JSON),
    ("nfv-oauth-server-configuration",     JSON),
    ("nodeinfo",                           JSON),
    ("oauth-authorization-server",         JSON),                                  // RFC 8414 §3.2
    ("oauth-protected-resource",           JSON),                                  // RFC 9728 §3.2
    ("ohttp-gateway",                      "application/ohttp-keys"),              // RFC 9540 §5
    ("open-resource-discovery",            JSON),
    ("openid-configuration",               JSON),                                  // OpenID Connect Discovery §4.2
    ("openid-credential-issuer",           JSON),
    ("openid-federation",                  "application/entity-statement+jwt"),    // OpenID Federation §9
    ("passkey-endpoints",                  JSON),                                  // §3.1 of its specification
    ("private-token-issuer-directory",     "application/private-token-issuer-directory"),
    ("pvd",                                "application/pvd+json"),                // RFC 8801 §4.1
    ("reload-config",                      "application/p2p-overlay+xml"),         // RFC 6940 §11.2
    ("shared-storage",                     JSON),
    ("smart-configuration",                JSON),
    ("ssf-configuration",                  JSON),
    ("ssh-known-hosts",                    "text/plain"),
    ("traffic-advice",                     "application/trafficadvice+json"),
    ("udap",                               JSON),
    ("uma2-configuration",                 JSON),
    ("web-identity",                       JSON),                                  // FedCM §3.1
    ("webauthn",                           JSON),                                  // WebAuthn §5.11.1
    ("webfinger",                          "application/jrd+json"),                // RFC 7033 §10.2
    ("wot",                                "application/td+json"),                 // Web of Things Discovery §6.1
    ("x-nodeinfo2",                        JSON),
];

/// The media type of the document at `path` of a bundle; `None` for any other file.
#[must_use]
pub fn media_type(path: &str) -> Option<&'static str> {
    let name = match path {
        // The location that Apple read first.
        "apple-app-site-association" => path,
        _ => path.strip_prefix(FOLDER)?.split('/').next()?,
    };
    DOCUMENTS.iter().find(|(known, _)| *known == name).map(|(_, media_type)| *media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_known_document_has_the_type_of_its_specification() {
        #[rustfmt::skip]
        let cases = [
            ("apple-app-site-association",                          Some("application/json")),
            (".well-known/apple-app-site-association",              Some("application/json")),
            (".well-known/openid-configuration",                    Some("application/json")),
            (".well-known/oauth-authorization-server",              Some("application/json")),
            (".well-known/oauth-authorization-server/issuer.com",   Some("application/json")),
            (".well-known/oauth-protected-resource/a/b",            Some("application/json")),
            (".well-known/webfinger",                               Some("application/jrd+json")),
            (".well-known/host-meta",                               Some("application/xrd+xml")),
            (".well-known/api-catalog",                             Some("application/linkset+json")),
            (".well-known/webauthn",                                Some("application/json")),
            (".well-known/web-identity",                            Some("application/json")),
            (".well-known/passkey-endpoints",                       Some("application/json")),
            (".well-known/nodeinfo",                                Some("application/json")),
            (".well-known/nodeinfo/2.1",                            Some("application/json")),
            (".well-known/matrix/client",                           Some("application/json")),
            (".well-known/authzen-configuration",                   Some("application/json")),
            (".well-known/authzen-configuration/tenant",            Some("application/json")),
            (".well-known/com.apple.remotemanagement",              Some("application/json")),
            (".well-known/shared-storage/trusted-origins",          Some("application/json")),
            (".well-known/udap",                                    Some("application/json")),
            // Known by their ending, or not at all.
            (".well-known/host-meta.json",                          None),
            (".well-known/security.txt",                            None),
            (".well-known/acme-challenge/token",                    None),
            (".well-known/webfingers",                              None),
            (".well-known/Webfinger",                               None),
            (".well-known",                                         None),
            ("webfinger",                                           None),
            ("sub/.well-known/webfinger",                           None),
            ("sub/apple-app-site-association",                      None),
        ];
        for (path, expected) in cases {
            assert_eq!(media_type(path), expected, "{path}");
        }
    }

    #[test]
    fn each_name_is_there_once_and_has_no_ending() {
        let has_ending = |name: &str| name.contains('.') && !name.starts_with("com.apple.");
        assert!(DOCUMENTS.is_sorted_by(|(one, _), (two, _)| one < two));
        assert!(DOCUMENTS.iter().all(|(name, media_type)| !has_ending(name) && media_type.contains('/')));
    }
}
