//! Every check that needs Rust alone, one after the other. All of them run, whatever fails; a tool
//! that is missing is named.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

/// A check: what it is called and what runs it.
struct Step {
    name: &'static str,
    command: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    /// What must answer for the step to run at all; else it is named as missing.
    needs: Option<&'static [&'static str]>,
}

const fn step(name: &'static str, command: &'static [&'static str]) -> Step {
    Step { name, command, env: &[], needs: None }
}

const NEXTEST: &[&str] = &["cargo", "nextest", "--version"];

/// The simulation's tests run optimized, as its seeds do: they are many.
fn tests() -> [Step; 2] {
    if answers(NEXTEST) {
        return [
            step(
                "tests",
                &[
                    "cargo",
                    "nextest",
                    "run",
                    "--workspace",
                    "--exclude=simulation",
                    "--no-fail-fast",
                ],
            ),
            step(
                "tests of the simulation",
                &["cargo", "nextest", "run", "--package=simulation", "--cargo-profile=simulation"],
            ),
        ];
    }
    [
        step(
            "tests (no cargo-nextest: cargo test)",
            &[
                "cargo",
                "test",
                "--workspace",
                "--exclude=simulation",
                "--no-fail-fast",
                "--lib",
                "--bins",
                "--tests",
            ],
        ),
        step(
            "tests of the simulation",
            &["cargo", "test", "--package=simulation", "--profile=simulation", "--tests"],
        ),
    ]
}

fn steps() -> Vec<Step> {
    let [tests, simulation_tests] = tests();
    vec![
        step("fmt", &["cargo", "fmt", "--all", "--check"]),
        step(
            "clippy",
            &["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        ),
        Step {
            env: &[("RUSTDOCFLAGS", "-D warnings")],
            ..step("doc", &["cargo", "doc", "--workspace", "--no-deps", "--document-private-items"])
        },
        tests,
        simulation_tests,
        step("simulation", &["cargo", "xtask", "simulate", "--seeds=5000"]),
        step("doctests", &["cargo", "test", "--workspace", "--doc"]),
        step("tidy", &["cargo", "xtask", "tidy"]),
        Step {
            needs: Some(&["cargo", "deny", "--version"]),
            ..step("deny", &["cargo", "deny", "check", "bans", "licenses", "sources"])
        },
        Step { needs: Some(&["typos", "--version"]), ..step("typos", &["typos"]) },
    ]
}

/// Runs every step; the error names those that failed.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub(crate) fn run(root: &Path) -> Result<()> {
    let (mut failed, mut missing) = (Vec::new(), Vec::new());
    for step in steps() {
        if step.needs.is_some_and(|probe| !answers(probe)) {
            println!("== {}: not installed, skipped ==", step.name);
            missing.push(step.name);
            continue;
        }
        println!("== {} ==", step.name);
        let started = Instant::now();
        let status = Command::new(step.command[0])
            .args(&step.command[1..])
            .envs(step.env.iter().copied())
            .current_dir(root)
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("could not start {}", step.command[0]))?;
        let word = if status.success() { "ok" } else { "FAILED" };
        println!("== {}: {word} in {:.1} s ==", step.name, started.elapsed().as_secs_f64());
        if !status.success() {
            failed.push(step.name);
        }
    }
    if !missing.is_empty() {
        println!("not installed: {}", missing.join(", "));
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn answers(probe: &[&str]) -> bool {
    let quiet = Command::new(probe[0])
        .args(&probe[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}
