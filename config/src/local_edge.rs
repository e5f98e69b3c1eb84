//! Line printed by `devanture-edge local` for its parent `devanture dev`: the addresses, or the reason of a failure.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::api::Secret;

/// Outcome of starting an edge for `devanture dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalEdge {
    /// The edge serves until the end of its standard input.
    Ready {
        /// Address of the listener for visitors.
        https: SocketAddr,
        /// Address of the API.
        admin: SocketAddr,
        /// Token of the scope `admin`, for this run alone.
        token: Secret,
    },
    /// The edge has ended; no socket listens.
    Failed {
        /// Kind of failure, for a better explanation by the command line.
        cause: StartFailure,
        /// Failure, as a clause without a full stop.
        message: String,
    },
}

/// Reason of a failed start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartFailure {
    /// Another program listens on the address.
    AddressInUse,
    /// The address is unusable.
    Address,
    /// The local authority cannot be read or written.
    Certificates,
    /// Any other reason.
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_as_it_was_written_and_unknown_causes_are_other() {
        let address = SocketAddr::from(([127, 0, 0, 1], 8443));
        let ready = LocalEdge::Ready { https: address, admin: address, token: Secret::new("dvt_x") };
        let failed = LocalEdge::Failed { cause: StartFailure::AddressInUse, message: "taken".to_owned() };
        for line in [ready, failed] {
            let text = serde_json::to_string(&line).unwrap();
            assert!(!text.contains('\n'));
            assert_eq!(serde_json::from_str::<LocalEdge>(&text).unwrap(), line);
        }
        let newer = r#"{"failed":{"cause":"moon_phase","message":"not tonight","more":1}}"#;
        let expected = LocalEdge::Failed { cause: StartFailure::Other, message: "not tonight".to_owned() };
        assert_eq!(serde_json::from_str::<LocalEdge>(newer).unwrap(), expected);
    }
}
