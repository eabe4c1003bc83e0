//! What the configuration says, and what it means.
//!
//! Two stages: `located` reads a file into a tree that knows lines and columns; everything else
//! turns trees into final values, and collects every problem on the way instead of stopping at the
//! first. Nothing here opens a socket or a database.
//!
//! Invariant: a `Settings` needs no further checking, and nobody else reads a configuration file
//! or the environment.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use domain::destination::Destination;
use store::sqlite::Durability;

/// Everything that the gateway was told. Every value is final.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How callers are answered.
    pub proxy: proxy::config::Config,
    /// Where and how long records are kept.
    pub store: StoreSettings,
    /// Where events go, in the files' order; a standby stands inside its primary.
    pub destinations: Vec<Destination>,
    /// What concerns deliveries to all destinations.
    pub delivery: DeliverySettings,
}

/// Where and how long records are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The directory of the journal and of the lanes' state, as the user wrote it.
    pub data_dir: PathBuf,
    /// What a committed record survives.
    pub durability: Durability,
    /// How long records are kept, delivered or not.
    pub retention: Duration,
    /// Bytes of disk set aside, so that outcomes fit when the disk is full.
    pub ballast_bytes: u64,
}

/// What concerns deliveries to all destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverySettings {
    /// How long lanes may go on after SIGTERM to send what they have begun.
    pub settle_timeout: Duration,
    /// The age of a signed delivery beyond which a receiver should refuse it
    /// (`security.timestamp_tolerance_ms`). The gateway's own receivers do.
    pub timestamp_tolerance: Duration,
}

/// Where the configuration comes from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The main file (`--config`).
    pub config: Option<PathBuf>,
    /// A file of seed 002's sections (`--webhooks`); wins over `webhook_config:`.
    pub webhooks: Option<PathBuf>,
    /// A user's registry of callbacks (`--callbacks`); wins over the one beside the main file.
    pub callbacks: Option<PathBuf>,
    /// The address to listen on (`--host`); wins over the file.
    pub host: Option<String>,
    /// The port to listen on (`--port`); wins over the file.
    pub port: Option<u16>,
    /// The data directory (`--data-dir`); wins over the file.
    pub data_dir: Option<PathBuf>,
    /// The environment's variables. Only `main` reads the real ones.
    pub environment: HashMap<String, String>,
}

/// Something in a configuration that the gateway can live with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(String);

/// Something in a configuration that keeps the gateway from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

/// Reads and checks the whole configuration: final values and warnings, or every problem at once,
/// in the order of files and lines.
pub fn load(sources: &Sources) -> Result<(Settings, Vec<Warning>), Vec<Problem>> {
    let _ = sources;
    unimplemented!()
}
