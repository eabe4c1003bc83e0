//! `hookgate serve`: the gateway itself.

use std::{io::Write, path::PathBuf, process::ExitCode};

use crate::{
    app::App,
    cli::EXIT_BAD_CONFIGURATION,
    config::{Environment, Sources, load},
    telemetry,
};

/// `hookgate serve`, and `hookgate` without a command.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration file, as LiteLLM's config.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A file with the sections webhooks, events, retry, security and delivery
    #[arg(long, value_name = "FILE")]
    pub webhooks: Option<PathBuf>,
    /// A registry of callbacks, as `generic_api_compatible_callbacks.json`
    #[arg(long, value_name = "FILE")]
    pub callbacks: Option<PathBuf>,
    /// The address to listen on; any but loopback needs a master key
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// The port to listen on; 0 takes any that is free
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The directory of the gateway's data
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Serves until SIGTERM or SIGINT. Exits with 78 for a bad configuration.
pub fn run(args: Args, environment: Environment, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    telemetry::start(environment.get("RUST_LOG").map(String::as_str));
    let Args { config, webhooks, callbacks, host, port, data_dir } = args;
    let sources = Sources { config, webhooks, callbacks, host, port, data_dir, environment };
    let settings = match load(&sources) {
        Ok((settings, warnings)) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            settings
        }
        Err(problems) => {
            for problem in problems {
                tracing::error!("{problem}");
            }
            return Ok(ExitCode::from(EXIT_BAD_CONFIGURATION));
        }
    };
    let app = App::start(settings)?;
    app.stop_on_signals()?;
    writeln!(out, "Hookgate listens on http://{}", app.address())?;
    out.flush()?;
    app.wait()?;
    Ok(ExitCode::SUCCESS)
}
