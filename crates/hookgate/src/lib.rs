//! The gateway's program: what its configuration means, its commands, and how its parts are put
//! together.

pub mod config;

mod open_files;

pub mod app;

pub mod cli;

pub mod telemetry;
