//! `hookgate`: see `hookgate --help`.

use std::{collections::HashMap, io::Write, process::ExitCode};

use clap::Parser;
use hookgate::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment: HashMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    match cli.run(environment, &mut std::io::stdout()) {
        Ok(code) => code,
        Err(error) => {
            let mut text = format!("error: {error}\n");
            for cause in error.chain().skip(1) {
                text.extend(["caused by: ", &cause.to_string(), "\n"]);
            }
            // Nothing is left to be done if even this cannot be written.
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::FAILURE
        }
    }
}
