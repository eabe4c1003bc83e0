//! The commands.

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::config::Environment;

pub mod serve;

pub mod check;

pub mod demo;

pub mod dead_letters;

pub mod replay;

mod api;

mod table;

pub mod docs;

pub mod verify;

/// What bad configuration exits with: `EX_CONFIG` of sysexits.h.
pub const EXIT_BAD_CONFIGURATION: u8 = 78;

/// An LLM gateway whose webhooks arrive.
#[derive(Debug, Parser)]
#[command(name = "hookgate", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// The command; without one, `serve`
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Serve's own options
    #[command(flatten)]
    pub serve: serve::Args,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the gateway
    Serve(serve::Args),
    /// Check a configuration and say what it means
    Check(check::Args),
    /// Show the main job in a minute: no configuration, no key, no network
    Demo,
    /// List deliveries that were given up, or send them again
    DeadLetters(dead_letters::Args),
    /// Send ranges of the journal once more, by a running gateway
    Replay(replay::Args),
    /// Write a page for each pre-configured callback
    Docs(docs::Args),
    /// Say whether a delivery that a receiver got is genuine and fresh
    Verify(verify::Args),
}

impl Cli {
    /// Runs the command. `environment` is the process's, `out` its standard output.
    pub fn run(self, environment: Environment, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match self.command {
            None => serve::run(self.serve, environment, out),
            Some(Command::Serve(args)) => serve::run(args, environment, out),
            Some(Command::Check(args)) => check::run(args, environment, out),
            Some(Command::Demo) => demo::run(out),
            Some(Command::DeadLetters(args)) => dead_letters::run(args, &environment, out),
            Some(Command::Replay(args)) => replay::run(args, &environment, out),
            Some(Command::Docs(args)) => docs::run(&args, out),
            Some(Command::Verify(args)) => verify::run(args, environment, out),
        }
    }
}
