//! Runs seeds on all cores: `simulate --seeds 1000`, or one again with its trace: `simulate --seed 7`.
//! `cargo xtask simulate` builds it and passes everything on.

use std::{
    ops::Range,
    panic::catch_unwind,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use simulation::{
    isolation,
    oracle::Counts,
    outage,
    scenario::Scenario,
    world::{Options, Report, run},
};

/// Delivery under a seeded simulation.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run one seed, twice, and show the end of its trace.
    #[arg(long)]
    seed: Option<u64>,
    /// Show the world, and all of the trace.
    #[arg(long)]
    trace: bool,
    /// Run so many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// And so many from one on that nobody has chosen.
    #[arg(long, default_value_t = 0)]
    fresh: u64,
    #[command(subcommand)]
    measure: Option<Measure>,
}

/// What is measured, not searched for.
#[derive(Debug, Subcommand)]
enum Measure {
    /// What one bad receiver of a hundred costs the others, in virtual time.
    Isolation {
        /// Seconds of traffic.
        #[arg(long, default_value_t = 60)]
        secs: u32,
        /// Calls in each second.
        #[arg(long, default_value_t = 50)]
        calls_per_second: u32,
    },
    /// What a day without a receiver costs, at 1,000 calls a second: memory, rows, time.
    Outage {
        /// Hours for which it is down.
        #[arg(long, default_value_t = 24)]
        hours: u64,
        /// Calls that end in each second.
        #[arg(long, default_value_t = 1_000)]
        calls_per_second: u64,
    },
}

#[derive(Default)]
struct Total {
    runs: u64,
    simulated: Duration,
    counts: Counts,
    crashes: u64,
    failed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.measure {
        Some(Measure::Isolation { secs, calls_per_second }) => {
            return measure_isolation(isolation::Plan {
                destinations: 100,
                secs,
                calls_per_second,
            });
        }
        Some(Measure::Outage { hours, calls_per_second }) => {
            return measure_outage(outage::Plan { outage_secs: hours * 3_600, calls_per_second });
        }
        None => {}
    }
    if let Some(seed) = arguments.seed {
        return run_one(seed, arguments.trace);
    }
    let chosen = arguments.from..arguments.from + arguments.seeds;
    // Short enough to be typed again.
    let first = u64::from(fastrand::u32(..));
    run_many(&[chosen, first..first + arguments.fresh])
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn measure_isolation(plan: isolation::Plan) -> ExitCode {
    let rows = isolation::measure(plan);
    let mut is_kept = true;
    for row in &rows {
        let moved = row.moved_from(&rows[0]);
        println!("{row}  p99 moved by {:+.1} %", 100.0 * moved);
        for problem in row.problems(&rows[0]) {
            is_kept = false;
            println!("FAILED {problem}");
        }
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn measure_outage(plan: outage::Plan) -> ExitCode {
    let begun = Instant::now();
    let figures = outage::run(plan);
    println!("{figures}");
    println!("computed in        {:.1} s", begun.elapsed().as_secs_f64());
    for problem in figures.problems() {
        println!("FAILED {problem}");
    }
    if figures.problems().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn run_one(seed: u64, whole_trace: bool) -> ExitCode {
    let options = Options { whole_trace, ..Options::default() };
    if whole_trace {
        println!("{:#?}", Scenario::of(seed));
    }
    let (report, again) = (run(seed, options), run(seed, options));
    for line in &report.trace {
        println!("{line}");
    }
    let Report { hash, simulated, counts, crashes, .. } = &report;
    println!("seed {seed}: trace {hash:016x}, {simulated:?}, {crashes} crashes, {counts:?}");
    if again.hash != report.hash {
        println!("NOT THE SAME AGAIN: trace {:016x}", again.hash);
        return ExitCode::FAILURE;
    }
    match &report.violation {
        Some(violation) => {
            println!("FAILED {violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn run_many(ranges: &[Range<u64>]) -> ExitCode {
    for Range { start, end } in ranges.iter().filter(|range| !range.is_empty()) {
        println!("seeds {start} to {}", end - 1);
    }
    let seeds = Mutex::new(ranges.iter().cloned().flatten());
    let next = || seeds.lock().unwrap_or_else(PoisonError::into_inner).next();
    let total = Mutex::new(Total::default());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(seed) = next() {
                    let report = catch_unwind(|| run(seed, Options::default()));
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    match report {
                        Ok(report) => total.add(seed, &report),
                        Err(_) => total.failed(seed, "the simulation itself panicked"),
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let took = begun.elapsed().as_secs_f64();
    let days = total.simulated.as_secs_f64() / 86_400.0;
    println!(
        "{} runs in {took:.1} s ({:.0} a second): {days:.1} days, {} attempts, {} acknowledged, \
         {} dead letters, {} crashes",
        total.runs,
        total.runs as f64 / took,
        total.counts.sends,
        total.counts.acknowledged,
        total.counts.buried,
        total.crashes,
    );
    if total.failed == 0 {
        return ExitCode::SUCCESS;
    }
    println!("FAILED {} seeds, see above", total.failed);
    ExitCode::FAILURE
}

impl Total {
    fn add(&mut self, seed: u64, report: &Report) {
        self.runs += 1;
        self.simulated += report.simulated;
        self.counts.sends += report.counts.sends;
        self.counts.acknowledged += report.counts.acknowledged;
        self.counts.buried += report.counts.buried;
        self.crashes += u64::from(report.crashes);
        if let Some(violation) = &report.violation {
            self.failed(seed, &violation.to_string());
        }
    }

    /// Tells of it at once: many runs take long.
    #[expect(clippy::print_stdout, reason = "a command line tool")]
    fn failed(&mut self, seed: u64, what: &str) {
        self.failed += 1;
        println!("FAILED seed {seed}: {}", what.chars().take(300).collect::<String>());
        println!("  again: cargo xtask simulate --seed {seed}");
    }
}
