//! The cluster and the prefix of a mirror.

use std::fmt;
use std::str::FromStr;

/// The source of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// The id that etcd assigned to the cluster.
    pub(super) cluster: u64,
    /// The configured prefix.
    pub(super) prefix: String,
}

/// The beginning of an origin's text.
const KIND: &str = "etcd cluster ";
/// The text between the cluster and the prefix.
const BETWEEN: &str = ", prefix ";

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KIND}{:016x}{BETWEEN}{}", self.cluster, self.prefix)
    }
}

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (cluster, prefix) = text.strip_prefix(KIND).and_then(|rest| rest.split_once(BETWEEN)).ok_or(())?;
        let cluster = u64::from_str_radix(cluster, 16).map_err(|_error| ())?;
        Ok(Self { cluster, prefix: prefix.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_origin_is_read_as_it_was_written(cluster: u64, prefix in "\\PC{0,8}") {
            let origin = Origin { cluster, prefix };
            prop_assert_eq!(origin.to_string().parse(), Ok(origin));
        }

        #[test]
        fn any_text_is_an_origin_or_none(text in "(etcd cluster )?\\PC{0,8}(, prefix )?") {
            drop(text.parse::<Origin>());
        }
    }
}
