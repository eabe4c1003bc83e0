//! The log: one line an event, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging. `filter` is what `RUST_LOG` says (`delivery=debug`, say); `info` if it says
/// nothing that can be read. Does nothing if a log was started before.
pub fn start(filter: Option<&str>) {
    let filter = filter.and_then(|filter| EnvFilter::try_new(filter).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new("info"));
    // Colours are for people: a file or a collector gets plain text.
    let is_terminal = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(is_terminal);
    // A second start in one process (two gateways in a test) keeps the first log.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
