//! The gateway's program: what its configuration means, and its commands.

pub mod config;

pub mod cli;
