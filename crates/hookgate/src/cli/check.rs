//! `hookgate check`: what a configuration means, or what is wrong with it.

use std::{collections::HashMap, io::Write, path::PathBuf, process::ExitCode};

/// `hookgate check`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration file
    pub config: Option<PathBuf>,
    /// A file with the sections webhooks, events, retry, security and delivery
    #[arg(long, value_name = "FILE")]
    pub webhooks: Option<PathBuf>,
    /// A registry of callbacks, as generic_api_compatible_callbacks.json
    #[arg(long, value_name = "FILE")]
    pub callbacks: Option<PathBuf>,
}

/// Prints problems and warnings, and the effective configuration if there is one. Exits with 78
/// for a bad configuration.
pub fn run(
    args: Args,
    environment: HashMap<String, String>,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let _ = (args, environment, out);
    unimplemented!()
}
