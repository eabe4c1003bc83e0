//! Runs the fuzz targets with libFuzzer, on the stable toolchain and with no tool to install.
//!
//! `cargo fuzz` sets the same flags and works on the same folder; this needs it not.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// What libFuzzer must have of the code under test: counters on its edges, and its comparisons.
const FLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing";

/// An input that takes longer has found a slow path.
const TIMEOUT_SECONDS: u32 = 10;
const INPUT_BYTES_MAX: u32 = 16 << 10;
const MEMORY_MIB_MAX: u32 = 2048;

/// Builds all targets, then runs each of `only` (or all) for `seconds`. An input that breaks one is
/// left in `fuzz/artifacts` and named.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub(crate) fn run(root: &Path, seconds: u32, only: &[String]) -> Result<()> {
    let fuzz = root.join("fuzz");
    let host = host()?;
    let built = Command::new("cargo")
        .args(["build", "--release", "--target", &host])
        .current_dir(&fuzz)
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .context("could not start cargo")?;
    ensure!(built.success(), "the fuzz targets do not build");
    let binaries = fuzz.join("target").join(host).join("release");
    let mut failed = Vec::new();
    for target in targets(&fuzz)?.iter().filter(|t| only.is_empty() || only.contains(t)) {
        println!("== fuzz {target}: {seconds} s ==");
        let found = run_one(&fuzz, &binaries.join(target), target, seconds)?;
        if !found {
            failed.push(target.clone());
        }
    }
    ensure!(failed.is_empty(), "broken by an input in fuzz/artifacts: {}", failed.join(", "));
    Ok(())
}

/// Whether the target stood its time.
fn run_one(fuzz: &Path, binary: &Path, target: &str, seconds: u32) -> Result<bool> {
    // What is found goes beside the build; a seed that is worth keeping is copied by hand.
    let found = fuzz.join("target/corpus").join(target);
    let artifacts = fuzz.join("artifacts").join(target);
    let seeds = fuzz.join("corpus").join(target);
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
    }
    let status = Command::new(binary)
        .args([&found, &seeds])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={TIMEOUT_SECONDS}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .status()
        .with_context(|| format!("could not start the target {target}"))?;
    Ok(status.success())
}

fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(fuzz.join("targets"))
        .context("could not list fuzz/targets")?
        .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
        .filter_map(|name| Some(name.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// The machine's own target triple. Naming it keeps the flags off build scripts.
fn host() -> Result<String> {
    let told = Command::new("rustc").arg("-vV").output().context("could not start rustc")?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let line = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc names no host")?.to_owned())
}
