//! What a call and a delivery cost: `cargo run --release -p bench`.
//!
//! One run compares going direct, nginx as a plain reverse proxy, and Hookgate's release binary
//! (`cargo build --release` makes it), interleaved, on this machine. The provider, the receivers
//! and the load are threads of this program; what is measured runs in processes of its own.

use std::path::PathBuf;

use anyhow::Result;
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
    /// The gateway's binary
    #[arg(long, default_value = "target/release/hookgate")]
    gateway: PathBuf,
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn main() -> Result<()> {
    let args = Args::parse();
    let plan = plan::Plan::from_args(&args);
    let tables = measure::run(&plan, &args.gateway)?;
    println!("{tables}");
    if args.write {
        std::fs::write("bench/RESULTS.md", tables)?;
    }
    Ok(())
}
