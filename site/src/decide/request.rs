//! A request, as far as its answer depends on it.

use std::borrow::Cow;

use http::Method;
use http::header::{ACCEPT, HeaderName};

use crate::navigation;

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// A request, as far as its answer depends on it.
pub trait Request<'r> {
    /// The method.
    fn method(&self) -> &Method;

    /// The path as it was sent.
    fn path(&self) -> &'r str;

    /// The query as it was sent.
    fn query(&self) -> Option<&'r str>;

    /// The host, in lower case, without a port; `None` for any visitor, of whom nothing else is known either.
    fn host(&self) -> Option<&str>;

    /// A field as one value, however many lines it came in.
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>>;

    /// Longest path that is looked at, in bytes.
    fn path_bytes_max(&self) -> usize;

    /// Whether the page of an application may answer at `path`, which is normal and decoded.
    fn may_have_shell(&self, path: &str) -> bool {
        may_have_shell(self, path)
    }
}

/// Whether the page of an application may answer, by the fields of the request.
pub(crate) fn may_have_shell<'r>(request: &(impl Request<'r> + ?Sized), path: &str) -> bool {
    let names = [&SEC_FETCH_MODE, &SEC_FETCH_DEST, &ACCEPT];
    let [mode, dest, accept] = names.map(|name| request.field(name));
    navigation::may_have_shell(mode.as_deref(), dest.as_deref(), accept.as_deref(), path)
}
