//! `hookgate replay`: ranges of the journal once more, asked of a running gateway.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::{
    api::{Api, GATEWAY},
    table,
};
use crate::config::Environment;

/// `hookgate replay`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
    /// The running gateway; its master key is taken from `HOOKGATE_MASTER_KEY`
    #[arg(long, value_name = "URL", global = true, default_value = GATEWAY)]
    pub gateway: String,
}

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// Send a range once more, under the same event ids
    Start(Box<Start>),
    /// List replays, and how they stand
    List,
    /// Stop one, and forget it and its dead letters
    Remove {
        /// Its id
        id: String,
    },
}

/// What to send once more.
#[derive(Debug, Clone, clap::Args)]
pub struct Start {
    /// To which destination
    #[arg(long, value_name = "NAME")]
    pub destination: String,
    /// From this time on, as 2026-11-21T10:30:00Z, or from this position of the journal
    #[arg(long, value_name = "TIME")]
    pub from: String,
    /// Up to this time or position; without it, up to now
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Only events of this type; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only calls of this model, a glob; may be given several times
    #[arg(long = "model", value_name = "GLOB")]
    pub models: Vec<String>,
    /// Only calls by the key of this name, a glob; may be given several times
    #[arg(long = "key", value_name = "GLOB")]
    pub keys: Vec<String>,
    /// Only calls for this end user, a glob; may be given several times
    #[arg(long = "end-user", value_name = "GLOB")]
    pub end_users: Vec<String>,
    /// Only calls with this tag, a glob; may be given several times
    #[arg(long = "tag", value_name = "GLOB")]
    pub tags: Vec<String>,
    /// In this format instead of the destination's own
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Deliveries a second, at most
    #[arg(long, value_name = "NUMBER")]
    pub rate: Option<u32>,
    /// Send nothing; say how much would be sent, and show the first body
    #[arg(long)]
    pub dry_run: bool,
}

/// Asks the gateway, and says what it answered.
pub fn run(
    args: Args,
    environment: &Environment,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let api = Api::new(&args.gateway, environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start a runtime")?;
    runtime.block_on(async {
        match args.action {
            Action::Start(start) => begin(&api, &start, out).await,
            Action::List => list(&api, out).await,
            Action::Remove { id } => {
                api.ask(Method::DELETE, &format!("/api/replays/{id}"), None).await?;
                Ok(writeln!(out, "Replay {id} is removed.")?)
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn begin(api: &Api, start: &Start, out: &mut impl Write) -> anyhow::Result<()> {
    let answer = api.ask(Method::POST, "/api/replays", Some(&start.spec())).await?;
    let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
    if !start.dry_run {
        writeln!(out, "Replay {} sends to {}.", text("id"), text("destination"))?;
        writeln!(out, "`hookgate replay list` says how far it is.")?;
        return Ok(());
    }
    let matched = answer["matched"].as_object().cloned().unwrap_or_default();
    let events: u64 = matched.values().filter_map(Value::as_u64).sum();
    writeln!(
        out,
        "{events} events in {} bodies would go to {}.",
        answer["bodies"],
        text("destination")
    )?;
    for (kind, count) in &matched {
        writeln!(out, "  {kind}: {count}")?;
    }
    let first = &answer["first"];
    if first.is_object() {
        let shown = |field: &str| first[field].as_str().unwrap_or_default();
        writeln!(out, "\nThe first:\n\n{} {}", shown("method"), shown("url"))?;
        for header in first["headers"].as_array().into_iter().flatten() {
            let part = |field: &str| header[field].as_str().unwrap_or_default();
            writeln!(out, "{}: {}", part("name"), part("value"))?;
        }
        writeln!(out, "\n{}", shown("body"))?;
    }
    Ok(())
}

async fn list(api: &Api, out: &mut impl Write) -> anyhow::Result<()> {
    let answer = api.ask(Method::GET, "/api/replays", None).await?;
    let replays = answer["data"].as_array().cloned().unwrap_or_default();
    if replays.is_empty() {
        return Ok(writeln!(out, "There are no replays.")?);
    }
    let head = ["ID", "DESTINATION", "STATE", "AT", "TO", "DELIVERED", "GIVEN UP", "REASON"];
    let fields = ["id", "destination", "state", "cursor", "to", "delivered", "given_up", "reason"];
    let cell = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => table::one_line(text),
        other => other.to_string(),
    };
    let rows = replays.iter().map(|replay| fields.map(|field| cell(&replay[field])));
    Ok(table::write(head, rows, out)?)
}

impl Start {
    /// As the API takes it.
    fn spec(&self) -> Value {
        let mut spec = Map::new();
        let mut set = |key: &str, value: Value| drop(spec.insert(key.to_owned(), value));
        set("destination", json!(self.destination));
        set("from", end(&self.from));
        if let Some(to) = &self.to {
            set("to", end(to));
        }
        if !self.types.is_empty() {
            set("event_types", json!(self.types));
        }
        let filter: Map<_, _> = [
            ("models", &self.models),
            ("keys", &self.keys),
            ("end_users", &self.end_users),
            ("tags", &self.tags),
        ]
        .into_iter()
        .filter(|(_, globs)| !globs.is_empty())
        .map(|(key, globs)| (key.to_owned(), json!(globs)))
        .collect();
        set("filter", Value::Object(filter));
        if let Some(format) = &self.format {
            set("format", json!(format));
        }
        if let Some(rate) = self.rate {
            set("rate", json!(rate));
        }
        set("dry_run", json!(self.dry_run));
        Value::Object(spec)
    }
}

/// A position of the journal, or a time.
fn end(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| json!(text), |position| json!(position))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn what_is_asked_for_is_what_the_api_takes() {
        let line = "replay start --destination audit --from 2026-11-21T00:00:00Z --to 4711 \
                    --type completion --type error --model gpt-4* --key app --rate 50 --dry-run";
        let args = Command::try_parse_from(line.split_whitespace()).unwrap().args;
        let Action::Start(start) = args.action else { panic!("{args:?}") };
        assert_eq!(
            start.spec(),
            json!({
                "destination": "audit", "from": "2026-11-21T00:00:00Z", "to": 4711,
                "event_types": ["completion", "error"],
                "filter": {"models": ["gpt-4*"], "keys": ["app"]},
                "rate": 50, "dry_run": true,
            })
        );
    }

    #[test]
    fn a_gateway_that_is_not_there_is_named() {
        let line = "replay list --gateway http://127.0.0.1:1";
        let args = Command::try_parse_from(line.split_whitespace()).unwrap().args;
        let error = run(args, &Environment::new(), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
        for url in ["https://gateway.example", "gateway:4000", "/"] {
            let line = format!("replay list --gateway {url}");
            let args = Command::try_parse_from(line.split_whitespace()).unwrap().args;
            let error = run(args, &Environment::new(), &mut Vec::new()).unwrap_err();
            assert!(error.to_string().contains("is not the URL of a gateway"), "{url}: {error}");
        }
    }
}
