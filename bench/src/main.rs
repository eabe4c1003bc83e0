//! What a call and a delivery cost: `cargo run --release -p bench`.
//!
//! One run compares going direct, nginx as a plain reverse proxy, and Hookgate's release binary
//! (which it builds), interleaved, on this machine. The provider, the receivers
//! and the load are threads of this program; what is measured runs in processes of its own.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;

mod load;
mod measure;
mod plan;
mod process;
mod receiver;
mod report;
mod samples;
mod server;
mod system;
mod upstream;
mod wire;

/// Compares Hookgate with nginx and with going direct, and writes tables in Markdown.
#[derive(Debug, Parser)]
struct Args {
    /// One short round of everything: shows that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Write the tables to bench/RESULTS.md too
    #[arg(long)]
    write: bool,
    /// Measure only these systems: direct, nginx, hookgate, hookgate-each, hookgate-none
    #[arg(long, value_delimiter = ',')]
    only: Vec<system::Kind>,
    /// Measure only this kind of call: plain, stream, paced, long
    #[arg(long)]
    scenario: Option<upstream::Shape>,
    /// Measure only this closed load; with `--scenario`, one that the plan need not hold
    #[arg(long)]
    concurrency: Option<usize>,
    /// Seconds of each round
    #[arg(long)]
    seconds: Option<f64>,
    /// Rounds of each measurement; the tables show medians
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds to wait before each round for the rest of the machine to be idle
    #[arg(long)]
    patience: Option<f64>,
    /// How often a round that others disturbed is tried again; the quietest counts
    #[arg(long)]
    retries: Option<usize>,
    /// A gateway's binary; without it, this repository's is built and used
    #[arg(long)]
    gateway: Option<PathBuf>,
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn main() -> Result<()> {
    let args = Args::parse();
    let plan = plan::Plan::from_args(&args);
    let gateway = args.gateway.clone().map_or_else(build_gateway, Ok)?;
    let tables = measure::run(&plan, &gateway)?;
    println!("{tables}");
    if args.write {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md"), tables)?;
    }
    Ok(())
}

/// Builds the release binary and returns where Cargo has put it.
fn build_gateway() -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--package", "hookgate", "--message-format=json"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(Stdio::inherit())
        .output()
        .context("could not run cargo")?;
    ensure!(built.status.success(), "the gateway does not build");
    let messages = String::from_utf8(built.stdout)?;
    let executable = messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.context("cargo names no executable")
}
