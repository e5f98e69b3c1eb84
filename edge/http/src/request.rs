//! Request heads, as the service reads them.

use http::{Method, Version};

use super::fields::Fields;

/// Head of a request, valid as a message: names, values and pseudo fields conform to RFC 9113 §8 or RFC 9112. The
/// service interprets the content.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'r> {
    /// Protocol version.
    pub version: Version,
    /// Request method.
    pub method: &'r Method,
    /// Scheme, if the target has one: always in HTTP/2, except for CONNECT.
    pub scheme: Option<&'r str>,
    /// Authority of the target: `:authority` in HTTP/2.
    pub authority: Option<&'r str>,
    /// Path as sent, without the query; `*` for OPTIONS of the whole server.
    pub path: &'r str,
    /// Query as sent, without `?`.
    pub query: Option<&'r str>,
    /// Header fields.
    pub fields: Fields<'r>,
}
