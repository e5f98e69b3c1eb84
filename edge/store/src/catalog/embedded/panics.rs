//! Panics that become errors: they are reported once, by the error, and not by the text of the panic before it.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread becomes an error.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// The hook is one of the process.
static HOOK: Once = Once::new();

/// Runs `work`, which catches its panics, without the text of one on stderr. It is in the log of the level `debug`.
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
