//! A request, as an input of the decision.

use std::borrow::Cow;

use http::Method;
use http::header::{ACCEPT, HeaderName};

use crate::navigation;

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// A request, as an input of the decision.
pub trait Request<'r> {
    /// The method.
    fn method(&self) -> &Method;

    /// The path as sent.
    fn path(&self) -> &'r str;

    /// The query as sent.
    fn query(&self) -> Option<&'r str>;

    /// The host, in lower case, without a port; `None` for an entirely unknown visitor.
    fn host(&self) -> Option<&str>;

    /// A field as one value, joined from all its lines.
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>>;

    /// Longest accepted path, in bytes.
    fn path_bytes_max(&self) -> usize;

    /// Returns true if the page of an application may answer at the normalized, decoded `path`.
    fn may_have_shell(&self, path: &str) -> bool {
        may_have_shell(self, path)
    }
}

/// Returns true if the page of an application may answer, by the fields of the request.
pub(crate) fn may_have_shell<'r>(request: &(impl Request<'r> + ?Sized), path: &str) -> bool {
    let names = [&SEC_FETCH_MODE, &SEC_FETCH_DEST, &ACCEPT];
    let [mode, dest, accept] = names.map(|name| request.field(name));
    navigation::may_have_shell(mode.as_deref(), dest.as_deref(), accept.as_deref(), path)
}
