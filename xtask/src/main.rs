//! Repository chores: `cargo xtask ci` runs every check but the clients, `cargo xtask tidy` the
//! rules that no other tool knows, `cargo xtask fuzz` the fuzz targets, `cargo xtask simulate` delivery
//! under virtual time.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

mod ci;
mod edges;
mod fuzz;
mod guarantees;
mod simulate;
mod tidy;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["ci"] => ci::run(&root()),
        ["tidy"] => tidy::run(&root()),
        ["fuzz", "--seconds", seconds, only @ ..] => match seconds.parse() {
            Ok(seconds) => {
                let only: Vec<_> = only.iter().map(ToString::to_string).collect();
                fuzz::run(&root(), seconds, &only)
            }
            Err(error) => Err(anyhow::anyhow!("--seconds {seconds}: {error}")),
        },
        ["simulate", ..] => simulate::run(&root(), &args[1..]),
        _ => {
            println!("usage: cargo xtask ci | tidy | fuzz --seconds N [TARGET…] | simulate --help");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the repository").to_owned()
}
