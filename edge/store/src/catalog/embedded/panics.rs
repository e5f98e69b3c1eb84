//! Panics that become errors: reported once, by the error, and not by the text of the panic before.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// Set if a panic of this thread becomes an error.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// The hook belongs to the whole process.
static HOOK: Once = Once::new();

/// Runs `work`, which catches its panics, without the text of a panic on stderr. The text is logged at the level
/// `debug`.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match IS_CAUGHT.get() {
            true => tracing::debug!(%info, "the catalog cannot be read there"),
            false => before(info),
        }));
    });
    let before = IS_CAUGHT.replace(true);
    let result = work();
    IS_CAUGHT.set(before);
    result
}
