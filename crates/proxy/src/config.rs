//! How the gateway answers callers. Built and checked by `hookgate::config`; every value is final.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use domain::{deployment::DeploymentFacts, outbound::Outbound, secret::Secret};
use serde_json::Value;

/// How the gateway answers callers.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The key that lets its holder do everything. Without it and without `keys` everyone is let in
    /// (loopback only).
    pub master_key: Option<Secret>,
    /// Keys beside it, each for LLM calls within its own limits.
    pub keys: Vec<Key>,
    /// Calls of all callers that run at once; more are answered with 429
    /// (`general_settings.global_max_parallel_requests`).
    pub global_max_parallel_requests: Option<u32>,
    /// What calls may be sent to, in the file's order.
    pub deployments: Vec<Deployment>,
    /// How a deployment is chosen, and what follows a failure.
    pub routing: Routing,
    /// How providers are reached.
    pub outbound: Outbound,
    /// Bounds.
    pub limits: Limits,
    /// Whether a caller may send `mock_response`.
    pub allow_client_mock_response: bool,
    /// Whether message texts are replaced before they are journaled
    /// (`litellm_settings.turn_off_message_logging`).
    pub turn_off_message_logging: bool,
    /// How long running calls may go on after SIGTERM.
    pub drain_timeout: Duration,
}

/// A key that callers may show beside the master key, and what it lets them do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name, unique: events and budgets go by it.
    pub name: String,
    /// The SHA-256 of its text, 64 hexadecimal digits in lower case.
    pub hash: String,
    /// Globs over the model names that callers use; empty for all.
    pub models: Vec<String>,
    /// Calls a minute.
    pub rpm: Option<u32>,
    /// Tokens a minute, of prompts and answers.
    pub tpm: Option<u32>,
    /// Calls at once.
    pub max_parallel_requests: Option<u32>,
}

/// A provider, a model there and a credential.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// What an exchange remembers of it: id, names, dialect, the user's prices.
    pub facts: Arc<DeploymentFacts>,
    /// The URL that paths such as `/chat/completions` are appended to, without a final slash.
    pub base_url: String,
    /// The key shown to the provider.
    pub credential: Credential,
    /// Headers of the user's own for the provider (`extra_headers`).
    pub extra_headers: Vec<(String, Secret)>,
    /// Fields of requests to it that the caller leaves out: names, and JSON.
    pub defaults: Vec<(String, String)>,
    /// As in [`Routing::timeout`], which holds if this is absent.
    pub timeout: Option<Duration>,
    /// As in [`Routing::stream_timeout`], which holds if this is absent.
    pub stream_timeout: Option<Duration>,
    /// Attempts on its model name after the first, where it was the one that failed; else as in
    /// [`Routing::num_retries`].
    pub num_retries: Option<u32>,
    /// Those of a name with the lowest order are asked first, the next once they failed; those
    /// without one last.
    pub order: Option<u32>,
    /// How often simple-shuffle picks it, relative to the others of its name.
    pub weight: u32,
    /// Whether `stream_options.include_usage` is asked for upstream.
    pub include_usage: bool,
    /// The answer instead of a provider's: text, an object, or one of LiteLLM's error mocks.
    pub mock_response: Option<Value>,
    /// Calls a minute that it is asked; the router passes it over beyond.
    pub rpm: Option<u32>,
    /// Tokens a minute, of prompts and answers; the router passes it over beyond.
    pub tpm: Option<u32>,
    /// Calls that it is asked at once; the router passes it over beyond.
    pub max_parallel_requests: Option<u32>,
}

/// What is shown to a provider.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Nothing (a local server).
    None,
    /// A key.
    Key(Secret),
    /// The environment variable that should hold the key is not set: calls are answered by naming it.
    Missing {
        /// The variable's name.
        variable: String,
    },
}

/// How a deployment is chosen, and what follows a failure.
#[derive(Debug, Clone)]
pub struct Routing {
    /// Attempts on the same model name after the first.
    pub num_retries: u32,
    /// One attempt at a whole answer, from connecting to the last byte. Of a call that streams: the
    /// longest silence between two reads once it has begun; before, the shorter of this and
    /// `stream_timeout` holds.
    pub timeout: Duration,
    /// One attempt at a stream, from connecting to the first events for the caller; or to the last
    /// byte, if the provider answers whole.
    pub stream_timeout: Duration,
    /// Model names to try next, by the model name that failed.
    pub fallbacks: HashMap<String, Vec<String>>,
    /// Model names to try next for any other.
    pub default_fallbacks: Vec<String>,
    /// Those after a prompt that was too long, by the model name; others as after any failure.
    pub context_window_fallbacks: HashMap<String, Vec<String>>,
    /// Those after a refusal by a provider's content policy, in the same way.
    pub content_policy_fallbacks: HashMap<String, Vec<String>>,
    /// Other names of models (`router_settings.model_group_alias`).
    pub aliases: HashMap<String, String>,
}

/// Bounds on what callers and providers can take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A request's body; more is answered with 413.
    pub request_body_bytes_max: usize,
    /// A request's head; more is answered with 431.
    pub request_header_bytes_max: usize,
    /// How long a caller may take to send its request's head.
    pub header_read_timeout: Duration,
    /// How long a caller may take to send its request's body.
    pub body_read_timeout: Duration,
    /// How long a write to a caller may wait for it to read; then its connection is closed.
    pub write_timeout: Duration,
    /// A provider's whole answer to a call that does not stream.
    pub response_body_bytes_max: usize,
    /// What is kept of a request's and of a response's body in the journal, each.
    pub captured_bytes_max: usize,
    /// Bytes of requests and answers held for running calls, over all; more is answered with 503.
    pub in_flight_bytes_max: usize,
    /// Calls running at once; more are answered with 503.
    pub in_flight_calls_max: usize,
    /// Connections from callers at once.
    pub connections_max: usize,
}

impl Default for Limits {
    /// The documented defaults (`config/default.yaml`).
    fn default() -> Self {
        Self {
            request_body_bytes_max: 32 << 20,
            request_header_bytes_max: 64 << 10,
            header_read_timeout: Duration::from_secs(30),
            body_read_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_mins(1),
            response_body_bytes_max: 64 << 20,
            captured_bytes_max: 8 << 20,
            in_flight_bytes_max: 512 << 20,
            in_flight_calls_max: 10_000,
            connections_max: 20_000,
        }
    }
}
