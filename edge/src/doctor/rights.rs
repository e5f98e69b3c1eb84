//! Checks the access of other users of the machine to the data folder.

use std::path::Path;

use super::finding::Finding;
use crate::server::data_rights::{self, Exposed};

const CHECK: &str = "permissions";

/// Checks the modes of the data folder; no finding without a folder.
pub(super) fn look(data_dir: &Path) -> Option<Finding> {
    if !data_dir.is_dir() {
        return None;
    }
    Some(match data_rights::look(data_dir) {
        None => Finding::ok(CHECK, "the data folder is closed to other users, as far as this one sees"),
        Some(Exposed { found, command, is_grave }) => {
            let advice = format!("`{command}`, and replace the keys if anybody else has an account here");
            match is_grave {
                true => Finding::fail(CHECK, found, advice),
                false => Finding::warn(CHECK, found, format!("`{command}`")),
            }
        }
    })
}
