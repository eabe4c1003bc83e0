//! `hookgate dead-letters`: deliveries that were given up, one looked at, and sending them again.
//!
//! It works on the data directory, beside a gateway that may be running there: that one notices
//! what was revived within a second or so. What only the journal knows (types, models, keys) is asked
//! of the running gateway. Invariant: nothing is revived that was not named (by id, by a filter or by
//! `--all`), nor what no destination would be sent.

mod find;

use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use delivery::{leftovers::why_unsent, replay::PREFIX};
use domain::{
    delivery::{Attempt, DeadLetter},
    id::{DeliveryId, DestinationName},
    time::Timestamp,
};
use store::lanes::{DeliveryDetail, WAITING_MAX};

use self::find::{Letters, Which};
use super::{
    api::{Api, GATEWAY},
    table::{self, one_line},
};
use crate::config::{DATA_DIR, Environment, count};

/// Dead letters listed at most, unless `--limit` says otherwise.
const LIMIT: usize = 100;

/// `hookgate dead-letters`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to do with them; without it: list
    #[command(subcommand)]
    pub action: Option<Action>,
    /// The directory of the gateway's data
    #[arg(long, value_name = "DIR", global = true, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// The gateway that runs on it, asked for types, models and keys; its master key is taken from
    /// `HOOKGATE_MASTER_KEY`
    #[arg(long, value_name = "URL", global = true, default_value = GATEWAY)]
    pub gateway: String,
    /// Which of them
    #[command(flatten)]
    pub which: Which,
}

/// What to do with dead letters.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// List them, oldest first
    List {
        /// How many to list at most
        #[arg(long, value_name = "NUMBER", default_value_t = LIMIT)]
        limit: usize,
    },
    /// Show one with all of its attempts
    Show {
        /// Its id
        id: String,
    },
    /// Send them again, with as many attempts as a new delivery has
    Retry {
        /// Only this delivery; may be given several times
        #[arg(long = "id", value_name = "ID")]
        ids: Vec<String>,
        /// All of them
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// Lists dead letters, shows one, or makes them due again.
pub fn run(
    args: Args,
    environment: &Environment,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start a runtime")?;
    runtime.block_on(async {
        let gateway = Api::new(&args.gateway, environment)?;
        let letters = Letters::open(&args.data_dir, gateway).await?;
        act(&letters, args.action, &args.which, out).await
    })
}

async fn act(
    letters: &Letters,
    action: Option<Action>,
    which: &Which,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    match action.unwrap_or(Action::List { limit: LIMIT }) {
        Action::List { limit } => list(letters, which, limit, out).await?,
        Action::Show { id } => return show(letters, which, &id, out).await,
        Action::Retry { ids, all } => {
            if ids.is_empty() && !all && !which.is_narrow() {
                bail!(
                    "say which: --id ID, --model GLOB, --status STATUS or another filter, or --all"
                );
            }
            retry(letters, which, &ids, out).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    letters: &Letters,
    which: &Which,
    limit: usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut found = letters.find(which, limit.saturating_add(1)).await?;
    if found.is_empty() {
        writeln!(out, "There are no dead letters.")?;
        return Ok(());
    }
    let are_more = found.len() > limit;
    found.truncate(limit);
    write_table(&found, out)?;
    if are_more {
        writeln!(out, "… and more; list them with --limit.")?;
    }
    if found.iter().any(|letter| letter.destination.as_str().starts_with(PREFIX)) {
        writeln!(out, "`hookgate replay list` says to which destinations replays are.")?;
    }
    Ok(())
}

/// Exits with 1 if there is none of that id.
async fn show(
    letters: &Letters,
    which: &Which,
    id: &str,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let found = letters.find(which, usize::MAX).await?;
    let found: Vec<_> = found.iter().filter(|letter| letter.id.as_str() == id).collect();
    if found.is_empty() {
        writeln!(out, "There is no dead letter `{id}`.")?;
        return Ok(ExitCode::FAILURE);
    }
    for letter in found {
        let DeadLetter { destination, id, events, buried_at, reason, .. } = letter;
        writeln!(out, "{id} to {destination}")?;
        writeln!(out, "given up at {}: {}", to_second(*buried_at), one_line(reason))?;
        for event in events {
            writeln!(out, "carries {}, record {}", event.event, event.sequence)?;
        }
        let detail = letters.lanes.delivery(destination, id).await?;
        let attempts = detail.map(|DeliveryDetail { attempts, .. }| attempts).unwrap_or_default();
        if attempts.is_empty() {
            writeln!(out, "Its attempts are no longer known.\n")?;
            continue;
        }
        writeln!(out)?;
        write_attempts(&attempts, out)?;
        writeln!(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_attempts(attempts: &[Attempt], out: &mut impl Write) -> std::io::Result<()> {
    let head = [
        "ATTEMPT",
        "AT",
        "MS",
        "DNS",
        "CONNECT",
        "TLS",
        "ANSWER",
        "BODY",
        "ADDRESS",
        "STATUS",
        "RESULT",
        "ANSWER BEGINS",
    ];
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows = (1..).zip(attempts).map(|(number, attempt): (u32, _)| {
        let ms = |phase: Option<u32>| or_dash(phase.map(|ms| ms.to_string()));
        let phases = attempt.timings;
        [
            number.to_string(),
            to_second(attempt.started_at),
            attempt.duration_ms.to_string(),
            ms(phases.dns_ms),
            ms(phases.connect_ms),
            ms(phases.tls_ms),
            ms(phases.answer_ms),
            ms(phases.body_ms),
            or_dash(attempt.address.clone()),
            or_dash(attempt.status.map(|status| status.to_string())),
            one_line(&attempt.result),
            one_line(&attempt.answer_start),
        ]
    });
    table::write(head, rows, out)
}

async fn retry(
    letters: &Letters,
    which: &Which,
    ids: &[String],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if let Some(named) = &which.destination
        && let Some(gone) = letters.gone(&DestinationName::new(named))
    {
        bail!(why_unsent(gone));
    }
    let mut found = letters.find(which, usize::MAX).await?;
    found.retain(|letter| ids.is_empty() || ids.iter().any(|id| letter.id.as_str() == id));
    let is_found = |id: &&String| found.iter().any(|letter| letter.id.as_str() == *id);
    let lacking = ids.iter().filter(|id| !is_found(id)).count();
    let mut chosen: BTreeMap<&DestinationName, Vec<DeliveryId>> = BTreeMap::new();
    let mut skipped: BTreeMap<&DestinationName, usize> = BTreeMap::new();
    for letter in &found {
        match letters.gone(&letter.destination) {
            Some(gone) => *skipped.entry(gone).or_default() += 1,
            None => chosen.entry(&letter.destination).or_default().push(letter.id.clone()),
        }
    }
    if let Some((gone, _)) = skipped.first_key_value()
        && chosen.is_empty()
        && !ids.is_empty()
    {
        bail!(why_unsent(gone));
    }
    let (mut revived, mut left) = (0, Vec::new());
    for (lane, ids) in &chosen {
        let number = letters.lanes.revive(lane, Some(ids)).await?;
        revived += number;
        if number < ids.len() {
            left.push((lane, ids.len() - number));
        }
    }
    if revived > 0 {
        let letters = count(revived, "dead letter");
        writeln!(out, "{letters} will be sent again, once a gateway runs on this data.")?;
    } else if skipped.is_empty() && left.is_empty() {
        writeln!(out, "No dead letter matches; nothing is sent again.")?;
        return Ok(());
    }
    match lacking {
        0 => {}
        1 => writeln!(out, "1 of those ids was not found.")?,
        lacking => writeln!(out, "{lacking} of those ids were not found.")?,
    }
    for (lane, number) in left {
        let letters = count(number, "dead letter");
        writeln!(
            out,
            "Not yet {letters} of `{lane}`: no more than {WAITING_MAX} deliveries may wait. Ask \
             again once some are through."
        )?;
    }
    for (gone, number) in skipped {
        let stay = if number == 1 { "stays" } else { "stay" };
        let letters = count(number, "dead letter");
        writeln!(out, "{letters} of `{gone}` {stay}: {}.", why_unsent(gone))?;
    }
    Ok(())
}

fn write_table(letters: &[DeadLetter], out: &mut impl Write) -> std::io::Result<()> {
    let head = ["ID", "DESTINATION", "EVENTS", "ATTEMPTS", "GIVEN UP AT", "REASON"];
    let rows = letters.iter().map(|letter| {
        [
            letter.id.as_str().to_owned(),
            letter.destination.as_str().to_owned(),
            letter.events.len().to_string(),
            letter.attempts.to_string(),
            to_second(letter.buried_at),
            one_line(&letter.reason),
        ]
    });
    table::write(head, rows, out)
}

/// UTC without the fraction: `2024-01-15T10:30:00Z`.
fn to_second(time: Timestamp) -> String {
    Timestamp::from_millis(time.as_secs().saturating_mul(1_000)).to_string()
}

#[cfg(test)]
mod tests;
