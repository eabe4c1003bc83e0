//! `hookgate check`: what a configuration means, or what is wrong with it.
//!
//! It decides nothing: the same `config::load` runs when the gateway starts.

use std::{fmt::Display, io::Write, path::PathBuf, process::ExitCode};

use crate::{
    cli::EXIT_BAD_CONFIGURATION,
    config::{self, Environment, Sources, count},
};

/// `hookgate check`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration file, as `LiteLLM`'s config.yaml
    pub config: Option<PathBuf>,
    /// A file with the sections webhooks, events, retry, security and delivery
    #[arg(long, value_name = "FILE")]
    pub webhooks: Option<PathBuf>,
    /// A registry of callbacks, as `generic_api_compatible_callbacks.json`
    #[arg(long, value_name = "FILE")]
    pub callbacks: Option<PathBuf>,
    /// Print every setting of Hookgate's own with its default, and check nothing
    #[arg(long, exclusive = true)]
    pub defaults: bool,
}

/// Prints problems and warnings, and the effective configuration if there is one. Exits with 78
/// for a bad configuration.
pub fn run(args: Args, environment: Environment, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Args { config, webhooks, callbacks, defaults } = args;
    if defaults {
        write!(out, "{}", config::DEFAULTS)?;
        return Ok(ExitCode::SUCCESS);
    }
    let sources = Sources { config, webhooks, callbacks, environment, ..Sources::default() };
    let (settings, warnings, problems) = match config::load_with_warnings(&sources) {
        (Ok(settings), warnings) => (Some(settings), warnings, Vec::new()),
        (Err(problems), warnings) => (None, warnings, problems),
    };
    print_all(out, "error", &problems)?;
    print_all(out, "warning", &warnings)?;
    let found = [(problems.len(), "error"), (warnings.len(), "warning")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| count(number, noun))
        .collect::<Vec<_>>()
        .join(", ");
    if !found.is_empty() {
        writeln!(out, "{found}")?;
    }
    match settings {
        Some(settings) => {
            if !found.is_empty() {
                writeln!(out)?;
            }
            write!(out, "{}", config::describe(&settings))?;
            Ok(ExitCode::SUCCESS)
        }
        None => Ok(ExitCode::from(EXIT_BAD_CONFIGURATION)),
    }
}

fn print_all(out: &mut impl Write, kind: &str, findings: &[impl Display]) -> std::io::Result<()> {
    findings.iter().try_for_each(|finding| writeln!(out, "{kind}: {finding}"))
}
