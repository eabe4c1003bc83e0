//! Runs the simulation of delivery, optimized but with its assertions.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};

/// Builds it, and runs it with these arguments.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--profile", "simulation", "--package", "simulation", "--"])
        .args(arguments)
        .current_dir(root)
        .status()
        .context("could not start cargo")?;
    ensure!(status.success(), "the simulation failed");
    Ok(())
}
