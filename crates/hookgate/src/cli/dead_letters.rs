//! `hookgate dead-letters`: deliveries that were given up, one looked at, and sending them again.
//!
//! It works on the data directory, beside a gateway that may be running there: that one notices
//! what was revived within a second or so. What only the journal knows (models, keys) is asked of the
//! running gateway's API. Invariant: nothing is revived that was not named: by id, by destination, by
//! another condition or by `--all`.

use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use delivery::replay::PREFIX;
use domain::{
    delivery::{Attempt, DeadLetter},
    id::{DeliveryId, DestinationName},
    time::Timestamp,
};
use store::{
    lanes::{DeliveryDetail, Lanes},
    sqlite::open_lanes_only,
};

use super::table::{self, one_line};
use crate::config::{DATA_DIR, count};

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
    /// Which of them
    #[command(flatten)]
    pub which: Which,
}

/// Which dead letters are meant: those that meet all that is given.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Which {
    /// Only those of this destination, or of the replay of this id
    #[arg(long, value_name = "NAME", global = true)]
    pub destination: Option<String>,
    /// Only those given up at this time or later, as 2026-11-21T10:30:00Z
    #[arg(long, value_name = "TIME", global = true, value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only those given up before this time
    #[arg(long, value_name = "TIME", global = true, value_parser = time)]
    pub until: Option<Timestamp>,
    /// Only those whose reason holds this text, in upper or lower case
    #[arg(long, value_name = "TEXT", global = true)]
    pub reason: Option<String>,
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
pub fn run(args: Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let lanes = open_lanes_only(&args.data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .context("could not start a runtime")?;
    runtime.block_on(act(&*lanes, args.action, &args.which, out))
}

/// The command itself, on any engine.
async fn act(
    lanes: &dyn Lanes,
    action: Option<Action>,
    which: &Which,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    match action.unwrap_or(Action::List { limit: LIMIT }) {
        Action::List { limit } => list(lanes, which, limit, out).await?,
        Action::Show { id } => return show(lanes, which, &id, out).await,
        Action::Retry { ids, all } => {
            if ids.is_empty() && !all && !which.is_narrow() {
                bail!("say which: --id ID, --reason TEXT, --since TIME, --until TIME, or --all");
            }
            retry(lanes, which, &ids, out).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Which {
    /// Whether it says more than whose.
    fn is_narrow(&self) -> bool {
        self.since.is_some() || self.until.is_some() || self.reason.is_some()
    }

    fn has(&self, letter: &DeadLetter) -> bool {
        let holds = |text: &String| letter.reason.to_lowercase().contains(&text.to_lowercase());
        self.since.is_none_or(|since| since <= letter.buried_at)
            && self.until.is_none_or(|until| letter.buried_at < until)
            && self.reason.as_ref().is_none_or(holds)
    }

    /// Those that are meant, oldest first; `limit` of them at most.
    async fn find(&self, lanes: &dyn Lanes, limit: usize) -> anyhow::Result<Vec<DeadLetter>> {
        let destination = self.destination.as_deref().map(DestinationName::new);
        let read_max = if self.is_narrow() { usize::MAX } else { limit };
        let mut letters = lanes.dead_letters(destination.as_ref(), read_max).await?;
        letters.retain(|letter| self.has(letter));
        letters.truncate(limit);
        Ok(letters)
    }
}

async fn list(
    lanes: &dyn Lanes,
    which: &Which,
    limit: usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut letters = which.find(lanes, limit.saturating_add(1)).await?;
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
    if letters.iter().any(|letter| letter.destination.as_str().starts_with(PREFIX)) {
        writeln!(out, "`hookgate replay list` says to which destinations replays are.")?;
    }
    Ok(())
}

/// Exits with 1 if there is none of that id.
async fn show(
    lanes: &dyn Lanes,
    which: &Which,
    id: &str,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let letters = which.find(lanes, usize::MAX).await?;
    let letters: Vec<_> = letters.iter().filter(|letter| letter.id.as_str() == id).collect();
    if letters.is_empty() {
        writeln!(out, "There is no dead letter `{id}`.")?;
        return Ok(ExitCode::FAILURE);
    }
    for letter in letters {
        let DeadLetter { destination, id, events, buried_at, reason, .. } = letter;
        writeln!(out, "{id} to {destination}")?;
        writeln!(out, "given up at {}: {}", to_second(*buried_at), one_line(reason))?;
        for event in events {
            writeln!(out, "carries {}, record {}", event.event, event.sequence)?;
        }
        let detail = lanes.delivery(destination, id).await?;
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
    lanes: &dyn Lanes,
    which: &Which,
    ids: &[String],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let revived = if which.is_narrow() {
        let mut found: BTreeMap<DestinationName, Vec<DeliveryId>> = BTreeMap::new();
        for letter in which.find(lanes, usize::MAX).await? {
            if ids.is_empty() || ids.iter().any(|id| id == letter.id.as_str()) {
                found.entry(letter.destination).or_default().push(letter.id);
            }
        }
        let mut revived = 0;
        for (lane, ids) in found {
            revived += lanes.revive(Some(&lane), Some(&ids)).await?;
        }
        revived
    } else {
        let destination = which.destination.as_deref().map(DestinationName::new);
        let named: Vec<_> = ids.iter().map(|id| DeliveryId::new(id)).collect();
        let chosen = Some(named.as_slice()).filter(|named| !named.is_empty());
        lanes.revive(destination.as_ref(), chosen).await?
    };
    if revived == 0 {
        writeln!(out, "No dead letter matches; nothing is sent again.")?;
        return Ok(());
    }
    let letters = count(revived, "dead letter");
    writeln!(out, "{letters} will be sent again, once a gateway runs on this data.")?;
    if revived < ids.len() {
        match ids.len() - revived {
            1 => writeln!(out, "1 of those ids was not found.")?,
            lacking => writeln!(out, "{lacking} of those ids were not found.")?,
        }
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

/// RFC 3339, or seconds since 1970.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(secs) = text.parse::<i64>() {
        return Ok(Timestamp::from_millis(secs.saturating_mul(1_000)));
    }
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "must be a time such as 2026-11-21T10:30:00Z".to_owned())?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;
    use domain::{
        carried::Carried,
        delivery::{EventRef, Timings},
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
        assert_eq!(
            world.run(&["retry"]),
            "error: say which: --id ID, --reason TEXT, --since TIME, --until TIME, or --all"
        );
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
    fn those_given_up_at_a_time_or_for_a_reason_are_listed_and_sent_again() {
        let world = World::with(&[("primary", "evt_1"), ("primary", "evt_2"), ("rubrik", "bat_3")]);
        for (filter, count) in [
            (["--since", "2023-11-14T22:13:20Z"], 3),
            (["--since", "2023-11-14T22:13:21Z"], 0),
            (["--until", "2023-11-14T22:13:20.124Z"], 1),
            (["--until", "1700000000"], 0),
            (["--reason", "STATUS 500"], 3),
            (["--reason", "timeout"], 0),
        ] {
            let said = world.run(&[&["list"], &filter[..]].concat());
            // A head stands over them.
            assert_eq!(said.lines().count(), 1 + count, "{filter:?}: {said}");
        }
        let wrong = Command::try_parse_from(["dead-letters", "--since", "noon"]);
        assert!(wrong.is_err_and(|error| error.to_string().contains("2026-11-21T10:30:00Z")));
        let of = ["retry", "--destination", "primary", "--reason", "status 5"];
        let said = world.run(&[&of[..], &["--until", "2023-11-14T22:13:20.124Z"]].concat());
        assert!(said.starts_with("1 dead letter will be sent again"), "{said}");
        assert_eq!((world.parked("primary"), world.parked("rubrik")), (1, 0));
    }

    #[test]
    fn letters_of_replays_are_told_as_such() {
        let world = World::with(&[("primary", "evt_1")]);
        assert!(!world.run(&[]).contains("hookgate replay list"));
        let world = World::with(&[("replay_19a2", "evt_1")]);
        assert!(world.run(&[]).contains("hookgate replay list"));
    }

    #[test]
    fn one_is_shown_with_each_of_its_attempts() {
        let world = World::with(&[("primary", "evt_1"), ("rubrik", "evt_1")]);
        let lane = DestinationName::new("primary");
        let attempt = |status: Option<u16>, result: &str| Attempt {
            delivery: DeliveryId::new("evt_1"),
            number: 1,
            started_at: Timestamp::from_millis(1_700_000_000_000),
            duration_ms: 47,
            timings: Timings { connect_ms: Some(3), answer_ms: Some(40), ..Timings::default() },
            address: Some("192.0.2.7:443".to_owned()),
            status,
            answer_start: "out of\norder".to_owned(),
            result: result.to_owned(),
            event_count: 1,
            carried: Carried::default(),
        };
        let attempts = vec![attempt(None, "timeout"), attempt(Some(500), "status 500")];
        let settlement = Settlement { attempts, ..Settlement::default() };
        block_on(world.store.lanes().settle(&lane, settlement)).unwrap();
        insta::assert_snapshot!(world.run(&["show", "evt_1", "--destination", "primary"]));
        let both = world.run(&["show", "evt_1"]);
        assert!(both.contains("to rubrik") && both.contains("no longer known"), "{both}");
        assert_eq!(world.run(&["show", "evt_9"]), "There is no dead letter `evt_9`.\n");
    }

    #[test]
    fn a_directory_without_data_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("none");
        let args = Args { action: None, data_dir: data_dir.clone(), which: Which::default() };
        let error = run(args, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains(&data_dir.display().to_string()), "{error}");
        assert!(!data_dir.exists());
    }
}
