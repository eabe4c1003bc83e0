//! `hookgate dead-letters`: deliveries that were given up, and sending them again.
//!
//! It works on the data directory, beside a gateway that may be running there: that one notices
//! what was revived within a second or so. Invariant: nothing is revived that was not named, by id,
//! by destination or by `--all`.

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use domain::{
    delivery::DeadLetter,
    id::{DeliveryId, DestinationName},
    time::Timestamp,
};
use store::{lanes::Lanes, sqlite::open_lanes_only};

use crate::config::{DATA_DIR, count};

/// Dead letters listed at most, unless `--limit` says otherwise.
const LIMIT: usize = 100;
/// The widest that a column but the last one gets, in characters.
const COLUMN_CHARS_MAX: usize = 48;

/// `hookgate dead-letters`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to do with them; without it: list
    #[command(subcommand)]
    pub action: Option<Action>,
    /// The directory of the gateway's data
    #[arg(long, value_name = "DIR", global = true, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// Only those of this destination
    #[arg(long, value_name = "NAME", global = true)]
    pub destination: Option<String>,
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
    /// Send them again, with as many attempts as a new delivery has
    Retry {
        /// Only this delivery; may be given several times
        #[arg(long = "id", value_name = "ID")]
        ids: Vec<String>,
        /// All of them, or with --destination all of that one's
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// Lists dead letters, or makes them due again.
pub fn run(args: Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let lanes = open_lanes_only(&args.data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .context("could not start a runtime")?;
    let destination = args.destination.as_deref().map(DestinationName::new);
    runtime.block_on(act(&*lanes, args.action, destination.as_ref(), out))
}

/// The command itself, on any engine.
async fn act(
    lanes: &dyn Lanes,
    action: Option<Action>,
    destination: Option<&DestinationName>,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    match action.unwrap_or(Action::List { limit: LIMIT }) {
        Action::List { limit } => list(lanes, destination, limit, out).await?,
        Action::Retry { ids, all } => {
            if ids.is_empty() && !all {
                bail!("say which: --id ID, or --all");
            }
            retry(lanes, destination, &ids, out).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    lanes: &dyn Lanes,
    destination: Option<&DestinationName>,
    limit: usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut letters = lanes.dead_letters(destination, limit.saturating_add(1)).await?;
    if letters.is_empty() {
        writeln!(out, "There are no dead letters.")?;
        return Ok(());
    }
    let are_more = letters.len() > limit;
    letters.truncate(limit);
    write_table(&letters, out)?;
    if are_more {
        writeln!(out, "… and more; list them with --limit.")?;
    }
    Ok(())
}

async fn retry(
    lanes: &dyn Lanes,
    destination: Option<&DestinationName>,
    ids: &[String],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let named: Vec<_> = ids.iter().map(|id| DeliveryId::new(id)).collect();
    let chosen = Some(named.as_slice()).filter(|named| !named.is_empty());
    let revived = lanes.revive(destination, chosen).await?;
    if revived == 0 {
        writeln!(out, "No dead letter matches; nothing is sent again.")?;
        return Ok(());
    }
    let letters = count(revived, "dead letter");
    writeln!(out, "{letters} will be sent again, once a gateway runs on this data.")?;
    if revived < named.len() {
        match named.len() - revived {
            1 => writeln!(out, "1 of those ids was not found.")?,
            lacking => writeln!(out, "{lacking} of those ids were not found.")?,
        }
    }
    Ok(())
}

fn write_table(letters: &[DeadLetter], out: &mut impl Write) -> std::io::Result<()> {
    let head = ["ID", "DESTINATION", "EVENTS", "ATTEMPTS", "GIVEN UP AT", "REASON"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(letters.iter().map(|letter| {
        [
            letter.id.as_str().to_owned(),
            letter.destination.as_str().to_owned(),
            letter.events.len().to_string(),
            letter.attempts.to_string(),
            to_second(letter.buried_at),
            one_line(&letter.reason),
        ]
    }));
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count().min(COLUMN_CHARS_MAX)).max()
    };
    let widths: Vec<_> = (0..head.len() - 1).map(|column| width(column).unwrap_or(0)).collect();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            write!(out, "{cell:width$}  ")?;
        }
        writeln!(out, "{}", row[head.len() - 1])?;
    }
    Ok(())
}

/// UTC without the fraction: `2024-01-15T10:30:00Z`.
fn to_second(time: Timestamp) -> String {
    Timestamp::from_millis(time.as_secs().saturating_mul(1_000)).to_string()
}

/// A receiver's words, so that they cannot move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;
    use domain::{
        delivery::EventRef,
        id::EventId,
        record::Sequence,
        time::{Clock, SystemClock},
    };
    use store::{
        lanes::Settlement,
        sqlite::{Config, Store},
    };

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    /// A store in which `letters` were buried: destination and id.
    struct World {
        store: Store,
        dir: tempfile::TempDir,
    }

    impl World {
        fn with(letters: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let config =
                Config { ballast_bytes: 0, ..Config::with_defaults(dir.path().to_owned()) };
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let store = Store::open(config, clock).unwrap();
            for (number, (destination, id)) in letters.iter().enumerate() {
                let letter = DeadLetter {
                    destination: DestinationName::new(destination),
                    id: DeliveryId::new(id),
                    events: vec![EventRef {
                        sequence: Sequence(1),
                        event: EventId::from_stored("evt_1"),
                    }],
                    attempts: 5,
                    buried_at: Timestamp::from_millis(1_700_000_000_123 + number as i64),
                    reason: "status 500: out of\norder".to_owned(),
                };
                let lane = letter.destination.clone();
                let settlement = Settlement { buried: vec![letter], ..Settlement::default() };
                block_on(store.lanes().settle(&lane, settlement)).unwrap();
            }
            Self { store, dir }
        }

        /// The output, or the error, of the command beside the open store.
        fn run(&self, words: &[&str]) -> String {
            let dir = self.dir.path().to_str().unwrap();
            let words = ["dead-letters"].into_iter().chain(words.iter().copied());
            let words = words.chain(["--data-dir", dir]);
            let args = Command::try_parse_from(words).unwrap().args;
            let mut out = Vec::new();
            match run(args, &mut out) {
                Ok(_) => String::from_utf8(out).unwrap(),
                Err(error) => format!("error: {error}"),
            }
        }

        fn parked(&self, destination: &str) -> usize {
            let lane = DestinationName::new(destination);
            block_on(self.store.lanes().parked(&lane)).unwrap().len()
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn dead_letters_are_listed_with_where_when_and_why() {
        let world = World::with(&[("primary", "evt_1"), ("rubrik", "bat_2")]);
        insta::assert_snapshot!(world.run(&[]), @r"
        ID     DESTINATION  EVENTS  ATTEMPTS  GIVEN UP AT           REASON
        evt_1  primary      1       5         2023-11-14T22:13:20Z  status 500: out of order
        bat_2  rubrik       1       5         2023-11-14T22:13:20Z  status 500: out of order
        ");
        let one = world.run(&["list", "--destination", "rubrik"]);
        assert!(one.contains("bat_2") && !one.contains("evt_1"), "{one}");
        let first = world.run(&["list", "--limit", "1"]);
        assert!(first.contains("evt_1") && !first.contains("bat_2"), "{first}");
        assert!(first.ends_with("… and more; list them with --limit.\n"), "{first}");
        assert_eq!(world.run(&["list", "--destination", "x"]), "There are no dead letters.\n");
    }

    #[test]
    fn what_is_named_is_sent_again_and_nothing_else() {
        let world = World::with(&[("primary", "evt_1"), ("primary", "evt_2"), ("rubrik", "bat_3")]);
        assert_eq!(world.run(&["retry"]), "error: say which: --id ID, or --all");
        assert_eq!(
            world.run(&["retry", "--id", "evt_2", "--id", "evt_9"]),
            "1 dead letter will be sent again, once a gateway runs on this data.\n\
             1 of those ids was not found.\n"
        );
        assert_eq!((world.parked("primary"), world.parked("rubrik")), (1, 0));
        assert_eq!(
            world.run(&["retry", "--all", "--destination", "primary"]),
            "1 dead letter will be sent again, once a gateway runs on this data.\n"
        );
        assert_eq!((world.parked("primary"), world.parked("rubrik")), (2, 0));
        assert_eq!(
            world.run(&["retry", "--id", "evt_9"]),
            "No dead letter matches; nothing is sent again.\n"
        );
        assert_eq!(
            world.run(&["retry", "--all"]),
            "1 dead letter will be sent again, once a gateway runs on this data.\n"
        );
        assert_eq!(world.run(&["list"]), "There are no dead letters.\n");
    }

    #[test]
    fn a_directory_without_data_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("none");
        let args = Args { action: None, data_dir: data_dir.clone(), destination: None };
        let error = run(args, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains(&data_dir.display().to_string()), "{error}");
        assert!(!data_dir.exists());
    }
}
