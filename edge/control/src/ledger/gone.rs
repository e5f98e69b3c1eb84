//! Problems about deleted items, with the time left for a restoration.

use devanture_config::IdPrefix;
use devanture_config::problem::{Code, Problem};
use devanture_config::text::date_time;

use super::Error;
use devanture_base::clock;

pub(crate) fn ambiguous(prefix: &IdPrefix) -> Error {
    let detail = format!("{prefix} is the beginning of several versions.");
    Problem::new(Code::AmbiguousId, detail).hint("give more characters of the id").into()
}

pub(super) fn deleted(what: &str, command: &str, who: &str, until_ms: u64) -> Error {
    let until = date_time(until_ms);
    let (detail, hint) = match until_ms > clock::now_ms() {
        true => (
            format!("{what} was deleted by {who}, and can be restored until {until}."),
            format!("`{command}` restores it; its name is free after that"),
        ),
        false => (
            format!("{what} was deleted by {who}, and could be restored until {until}."),
            "the next collection ends it; then its name is free".to_owned(),
        ),
    };
    Problem::new(Code::Deleted, detail).hint(hint).into()
}
