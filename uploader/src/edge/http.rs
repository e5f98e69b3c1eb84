//! What clients over HTTP have in common: reasons of failures, and the client for others than the edge that give an
//! identity token, a CI system or the provider of `[oidc]`.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use devanture_config::problem::Code;
use rustls::CertificateError;
use url::Url;

use super::trust;
use crate::output::exit::Failure;
use crate::settings::Proxy;

/// Longest time until a connection stands.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// A client for that address, with the PEM file of CAs to trust besides those of the system. It follows no redirect:
/// what opens it goes to the address that was said, and nowhere else.
///
/// # Errors
/// `usage` where the file cannot be taken, or TLS cannot be set up.
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

/// The proxy for `url`, as the environment of this process says.
///
/// # Errors
/// `usage` where it cannot be used.
pub(crate) fn proxy_for(url: &Url) -> Result<Option<Proxy>, Failure> {
    Proxy::of(url, |name| std::env::var(name).ok())
}

/// Has requests to `url` go through the proxy for it, or through none.
///
/// # Errors
/// As [`proxy_for`].
pub(crate) fn with_proxy(builder: reqwest::ClientBuilder, url: &Url) -> Result<reqwest::ClientBuilder, Failure> {
    match proxy_for(url)? {
        Some(proxy) => Ok(builder.proxy(proxy.for_client()?)),
        None => Ok(builder.no_proxy()),
    }
}

/// The failure of a request without an answer, as `failed` makes it from the reason. The address may be a secret of a
/// job: it is shown without.
pub(super) fn lost(error: reqwest::Error, failed: impl FnOnce(&str) -> Failure) -> Failure {
    let failure = failed(&root_cause(&error));
    let error = error.without_url();
    // One that has the name of a CA that is trusted, and not its key, as the CAs of two edges have, makes a bad
    // signature.
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

/// The failure of a client that cannot be built.
pub(crate) fn no_tls(error: &reqwest::Error) -> Failure {
    Failure::new(Code::Usage, format!("TLS cannot be set up: {}.", root_cause(error)))
        .hint("install the system's CA certificates, or set DEVANTURE_CA to the PEM file of the edge's CA")
}

/// The innermost reason of an error: what went wrong, without the layers that passed it on; and through which proxy.
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

/// The TLS error in an error, where there is one. An `io::Error` shows what it wraps only when it is asked for it.
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
