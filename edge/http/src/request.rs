//! A request's head, as it is read by who decides what answers it.

use http::{Method, Version};

use super::fields::Fields;

/// A request's head. It is sound as a message: its names, values and pseudo fields are what RFC 9113 §8 or RFC 9112
/// asks for; who decides looks at what it means.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'r> {
    /// The protocol.
    pub version: Version,
    /// The method.
    pub method: &'r Method,
    /// The scheme, where the target says one: always in HTTP/2, but for CONNECT.
    pub scheme: Option<&'r str>,
    /// The authority that the target says: `:authority` in HTTP/2.
    pub authority: Option<&'r str>,
    /// The path as it was sent, without its query; `*` for OPTIONS of the whole server.
    pub path: &'r str,
    /// The query as it was sent, without its `?`.
    pub query: Option<&'r str>,
    /// The fields.
    pub fields: Fields<'r>,
}
