//! The common parts of HTTP clients: reasons of failures, and the client for sources of identity tokens, such as a CI
//! system or the provider of `[oidc]`.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use devanture_config::problem::Code;
use rustls::CertificateError;
use url::Url;

use super::trust;
use crate::output::exit::Failure;
use crate::settings::Proxy;

/// Longest time until a connection is established.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Creates a client for the address, with the PEM file of CAs to trust besides those of the system. The client follows
/// no redirect: the credential goes only to the configured address.
///
/// # Errors
/// `usage` if the file is invalid, or TLS cannot be set up.
pub(super) fn client(url: &Url, ca: Option<&Path>, time_max: Duration) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("devanture/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIME_MAX)
        .timeout(time_max)
        .redirect(reqwest::redirect::Policy::none());
    builder = with_proxy(builder, url)?;
    if url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    } else if let Some(ca) = ca {
        builder = builder.tls_backend_preconfigured(trust::with_file(ca)?);
    }
    builder.build().map_err(|error| no_tls(&error))
}

/// Returns the proxy for `url` from the environment of this process.
///
/// # Errors
/// `usage` if the proxy is invalid.
pub(crate) fn proxy_for(url: &Url) -> Result<Option<Proxy>, Failure> {
    Proxy::of(url, |name| std::env::var(name).ok())
}

/// Sends requests to `url` through its proxy, or through none.
///
/// # Errors
/// Like [`proxy_for`].
pub(crate) fn with_proxy(builder: reqwest::ClientBuilder, url: &Url) -> Result<reqwest::ClientBuilder, Failure> {
    match proxy_for(url)? {
        Some(proxy) => Ok(builder.proxy(proxy.for_client()?)),
        None => Ok(builder.no_proxy()),
    }
}

/// Returns the failure of a request without an answer, made by `failed` from the reason. The address may be a secret of
/// a job and is not shown.
pub(super) fn lost(error: reqwest::Error, failed: impl FnOnce(&str) -> Failure) -> Failure {
    let failure = failed(&root_cause(&error));
    let error = error.without_url();
    // A certificate of an issuer with the name of a trusted CA, but a different key, as for the CAs of two edges, has a
    // bad signature.
    match tls_error(&error) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            failure.hint(
                "its certificate comes from a CA that is not trusted here: the PEM file of DEVANTURE_CA may hold \
                 several CAs, this one beside that of the edge",
            )
        }
        _ => failure,
    }
}

/// Returns the failure of a client that cannot be built.
pub(crate) fn no_tls(error: &reqwest::Error) -> Failure {
    Failure::new(Code::Usage, format!("TLS cannot be set up: {}.", root_cause(error)))
        .hint("install the system's CA certificates, or set DEVANTURE_CA to the PEM file of the edge's CA")
}

/// Returns the innermost reason of an error, without the outer layers, and the proxy in use.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let cause = innermost(error);
    match error.url().and_then(|url| proxy_for(url).ok().flatten()) {
        Some(proxy) => proxy.explained(&cause),
        None => cause,
    }
}

fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().trim_end_matches('.').to_owned()
}

/// Returns the TLS error in an error, if any. An `io::Error` reveals the wrapped error only on request.
pub(crate) fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
