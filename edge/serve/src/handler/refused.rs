//! Errors of the edge: the single table from reason to status and sentence.

use devanture_site::decide;
use devanture_site::target::TargetError;

use crate::live::LoadError;
use crate::proxy::{self, Phase};
use crate::version;

/// Reason of an error of the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The app has reached the limit of simultaneous requests.
    AppBusy,
    /// No host, or more than one.
    BadHost,
    /// A backend could not be reached, or sent no HTTP response.
    BackendFailed,
    /// A backend took too long.
    BackendSlow,
    /// No connection to a backend is free.
    BackendBusy,
    /// The request cannot be forwarded unchanged.
    BadRequest,
    /// The request's target cannot be parsed.
    BadTarget,
    /// The request's body is too long.
    BodyTooLarge,
    /// The client stalled too long within the body.
    ClientSlow,
    /// The request came back to an edge repeatedly.
    Loop,
    /// Files do not support the method.
    MethodNotAllowed,
    /// The method is unknown.
    MethodUnknown,
    /// The connection's certificate is not valid for the host of the request.
    Misdirected,
    /// No file.
    NotFound,
    /// The scheme of the target is not `https`, the only scheme served over TLS.
    NotHttps,
    /// A preview does not fit into the memory budget of the app.
    OverMemory,
    /// The environment is paused.
    Paused,
    /// A precondition of the client fails.
    PreconditionFailed,
    /// Too many requests wait for previews of the app.
    PreviewsBusy,
    /// The visitor may not see the protected content.
    Protected,
    /// No range lies within the representation, of the given length.
    RangeNotSatisfiable(u64),
    /// The target is too long.
    TargetTooLong,
    /// Too many attempts to enter a password.
    TooManyAttempts,
    /// The site restricts access to the path.
    Unauthorised,
    /// The live version cannot be served.
    Unavailable,
    /// The host is unknown.
    UnknownHost,
}

impl Refused {
    /// All reasons, in the order of their names; the length is an example.
    pub const ALL: [Self; 26] = [
        Self::AppBusy,
        Self::BackendBusy,
        Self::BackendFailed,
        Self::BackendSlow,
        Self::BadHost,
        Self::BadRequest,
        Self::BadTarget,
        Self::BodyTooLarge,
        Self::ClientSlow,
        Self::Loop,
        Self::MethodNotAllowed,
        Self::MethodUnknown,
        Self::Misdirected,
        Self::NotFound,
        Self::NotHttps,
        Self::OverMemory,
        Self::Paused,
        Self::PreconditionFailed,
        Self::PreviewsBusy,
        Self::Protected,
        Self::RangeNotSatisfiable(0),
        Self::TargetTooLong,
        Self::TooManyAttempts,
        Self::Unauthorised,
        Self::Unavailable,
        Self::UnknownHost,
    ];

    /// The status, and the sentence of the body.
    #[must_use]
    pub const fn row(self) -> (u16, &'static str) {
        match self {
            Self::AppBusy => (503, "This site has as many requests under way as it may."),
            Self::BackendBusy => (503, "The service has no capacity left just now."),
            Self::BackendFailed => (502, "The service behind this address did not answer."),
            Self::BackendSlow => (504, "The service behind this address took too long to answer."),
            Self::BadHost => (400, "The request names no host, or more than one, or none that can be read."),
            Self::BadRequest => (400, "The request cannot be read."),
            Self::BadTarget => (400, "The address cannot be read."),
            Self::BodyTooLarge => (413, "The request's body is too large."),
            Self::ClientSlow => (408, "The request's body did not come in time."),
            Self::Loop => (508, "The request runs in a circle."),
            Self::MethodNotAllowed => (405, "This address does not take that method."),
            Self::MethodUnknown => (501, "That method is not known here."),
            Self::Misdirected => (421, "This connection was made for another site."),
            Self::NotHttps => (421, "Only addresses of https are served over this connection."),
            Self::NotFound | Self::UnknownHost => (404, "There is nothing here."),
            Self::OverMemory => {
                (503, "The versions of this site use all the memory that they may; this preview cannot be loaded now.")
            }
            Self::Paused => (503, "This site is paused for maintenance."),
            Self::PreconditionFailed => (412, "The file is not the one that was expected."),
            Self::PreviewsBusy => (503, "Too many requests are waiting for previews of this site."),
            Self::Protected => (401, "This is protected, for visitors with its password or a link to it."),
            Self::RangeNotSatisfiable(_) => (416, "The file does not have that range."),
            Self::TargetTooLong => (414, "The address is too long."),
            Self::TooManyAttempts => (429, "There were too many attempts; try again in a few minutes."),
            Self::Unauthorised => (401, "This page is for those who have a name and a password for it."),
            Self::Unavailable => (503, "This site cannot be served just now."),
        }
    }
}

impl From<TargetError> for Refused {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::TooLong => Self::TargetTooLong,
            TargetError::Backslash
            | TargetError::Control
            | TargetError::DotSegment
            | TargetError::Encoding
            | TargetError::NotAPath
            | TargetError::Utf8 => Self::BadTarget,
        }
    }
}

impl From<decide::Refused> for Refused {
    fn from(refused: decide::Refused) -> Self {
        match refused {
            decide::Refused::BadRewrite => Self::BadTarget,
            decide::Refused::BadTarget(error) => error.into(),
            decide::Refused::MethodNotAllowed => Self::MethodNotAllowed,
            decide::Refused::MethodUnknown => Self::MethodUnknown,
            decide::Refused::Unauthorised => Self::Unauthorised,
        }
    }
}

impl From<&LoadError> for Refused {
    fn from(error: &LoadError) -> Self {
        match error {
            LoadError::Busy { .. } => Self::PreviewsBusy,
            LoadError::NoAlias { .. } => Self::NotFound,
            LoadError::Version(version::Error::OverMemory(_)) => Self::OverMemory,
            LoadError::Catalog(_) | LoadError::Unknown { .. } | LoadError::Version(_) => Self::Unavailable,
        }
    }
}

impl From<&proxy::Error> for Refused {
    fn from(error: &proxy::Error) -> Self {
        match error {
            proxy::Error::BadAnswer(_)
            | proxy::Error::Connect(_)
            | proxy::Error::Forbidden(_)
            | proxy::Error::NoAddress(_)
            | proxy::Error::Tls(_) => Self::BackendFailed,
            // RFC 9112 §8: a client that aborted a request may still read the response.
            proxy::Error::BadRequest(_) | proxy::Error::Cancelled => Self::BadRequest,
            proxy::Error::Loop(_) => Self::Loop,
            proxy::Error::NotImplemented(_) => Self::MethodUnknown,
            proxy::Error::RequestTooLarge { .. } => Self::BodyTooLarge,
            proxy::Error::Timeout(Phase::RequestBody) => Self::ClientSlow,
            proxy::Error::Timeout(Phase::Body | Phase::Connect | Phase::Head | Phase::Total) => Self::BackendSlow,
            proxy::Error::NoMember(_) | proxy::Error::Unavailable(_) => Self::BackendBusy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_in_the_list() {
        use Refused as R;
        // Exhaustive: a new reason does not compile without a place here, and then fails until listed.
        let place = |refused: R| match refused {
            R::AppBusy => 0,
            R::BackendBusy => 1,
            R::BackendFailed => 2,
            R::BackendSlow => 3,
            R::BadHost => 4,
            R::BadRequest => 5,
            R::BadTarget => 6,
            R::BodyTooLarge => 7,
            R::ClientSlow => 8,
            R::Loop => 9,
            R::MethodNotAllowed => 10,
            R::MethodUnknown => 11,
            R::Misdirected => 12,
            R::NotFound => 13,
            R::NotHttps => 14,
            R::OverMemory => 15,
            R::Paused => 16,
            R::PreconditionFailed => 17,
            R::PreviewsBusy => 18,
            R::Protected => 19,
            R::RangeNotSatisfiable(_) => 20,
            R::TargetTooLong => 21,
            R::TooManyAttempts => 22,
            R::Unauthorised => 23,
            R::Unavailable => 24,
            R::UnknownHost => 25,
        };
        let places: Vec<usize> = R::ALL.into_iter().map(place).collect();
        assert_eq!(places, (0..26).collect::<Vec<_>>());
    }
}
