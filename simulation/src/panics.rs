//! Panics of this thread. A service starts a task again that panicked, so a run would go on as if
//! nothing had been.

use std::{cell::RefCell, panic, sync::Once};

thread_local! {
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The first panic since this was last asked, if there was one. Those before the first call are
/// not seen.
pub(crate) fn take() -> Option<String> {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(watch);
    FIRST.take()
}

fn watch() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        FIRST.with_borrow_mut(|first| {
            first.get_or_insert_with(|| what.to_string());
        });
        before(what);
    }));
}
