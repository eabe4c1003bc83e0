//! The process's limit of open files, each connection being one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is asked for where there is no hard limit; some systems refuse more.
const ENOUGH: u64 = 1 << 20;
const MACOS_MAX: u64 = 10_240;

/// Raises the soft limit to the hard one, as nothing here uses `select`, and returns what holds.
pub(crate) fn raise() -> usize {
    let before = getrlimit(Resource::Nofile);
    let most = before.maximum.unwrap_or(ENOUGH);
    for wanted in [most, most.min(MACOS_MAX)] {
        let raised = Rlimit { current: Some(wanted), maximum: before.maximum };
        if before.current.is_some_and(|current| current < wanted)
            && setrlimit(Resource::Nofile, raised).is_ok()
        {
            break;
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(ENOUGH) as usize
}
