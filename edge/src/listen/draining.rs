//! How connections end once the edge drains.

/// How a connection ends once the edge drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draining {
    /// As soon as nothing is in flight.
    AtOnce,
    /// An idle one of HTTP/1.1 stays for a moment, since a request may be on its way.
    Patiently,
}
