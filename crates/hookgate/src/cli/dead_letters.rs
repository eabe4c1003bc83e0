//! `hookgate dead-letters`: deliveries that were given up, and sending them again.

use std::{io::Write, path::PathBuf, process::ExitCode};

/// `hookgate dead-letters`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to do with them
    #[command(subcommand)]
    pub action: Option<Action>,
    /// The directory of the gateway's data
    #[arg(long, value_name = "DIR", global = true, default_value = "hookgate-data")]
    pub data_dir: PathBuf,
    /// Only those of this destination
    #[arg(long, value_name = "NAME", global = true)]
    pub destination: Option<String>,
}

/// What to do with dead letters.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// Lists them (the default)
    List,
    /// Sends them again, with a full set of attempts
    Retry {
        /// Only this delivery; may be given several times
        #[arg(long = "id", value_name = "ID")]
        ids: Vec<String>,
        /// All of them, or all of the destination's
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// Lists dead letters, or makes them due again.
pub fn run(args: Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let _ = (args, out);
    unimplemented!()
}
