//! A world to be: destinations, receivers, calls, and what goes wrong and when. All from one seed.

use std::{ops::RangeInclusive, time::Duration};

use domain::{
    destination::{Batch, CloudEventsMode, Destination, Format, RetryPolicy},
    event::EventType,
    id::DestinationName,
    sample,
};
use fastrand::Rng;

use crate::{
    calls::End,
    oracle::host_of,
    receiver::{Mood, Receiver, Refusal},
};

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Who is to be told.
    pub destinations: Vec<Destination>,
    /// Receivers by host.
    pub receivers: Vec<(String, Receiver)>,
    /// What happens, in order of time.
    pub actions: Vec<(Duration, Action)>,
    /// When receivers, disks and operators are well again.
    pub horizon: Duration,
    /// How lanes work.
    pub config: delivery::config::Config,
    /// Milliseconds that a commit takes.
    pub commit_ms: RangeInclusive<u32>,
    /// Whether reading the journal may fail: then a lane may begin anew at any time.
    pub dice: Rng,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A call of that number arrives; whether it streams.
    Arrive(u32, bool),
    /// So many tokens of it, from the first on.
    Piece(u32, u32, u32),
    /// It ends.
    End(u32, End),
    /// The process dies after so many steps, and starts again after the time.
    Crash(u64, Duration),
    /// An orderly stop and start.
    Restart,
    /// The wall clock jumps by so many nanoseconds.
    Jump(i64),
    /// So many of a thousand operations of the disk fail from now on.
    Trouble(u32),
    /// Each commit takes so many milliseconds more from now on, but the journal's.
    Stall(u32),
    /// A person pauses a destination.
    Pause(DestinationName),
    /// A person resumes it.
    Resume(DestinationName),
    /// A person retries all dead letters of a destination.
    Retry(DestinationName),
    /// Another process revives all dead letters.
    Revive,
    /// The record after the last is damaged as it is written.
    Damage,
}

const SECOND: Duration = Duration::from_secs(1);

impl Scenario {
    /// The world of a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let horizon = *pick(
            &mut dice,
            &[30 * SECOND, 300 * SECOND, 3_600 * SECOND, 20_000 * SECOND, 150_000 * SECOND],
        );
        let count = dice.usize(1..=6);
        let destinations: Vec<_> =
            (0..count).map(|number| destination(&mut dice, number, horizon)).collect();
        let mut receivers = Vec::new();
        for destination in &destinations {
            for target in 0..=usize::from(destination.backup.is_some()) {
                let host = host_of(&destination.name, target);
                receivers.push((host, receiver(&mut dice, horizon, destination.strict_order)));
            }
        }
        let mut actions = traffic(&mut dice, horizon);
        chaos(&mut dice, horizon, &destinations, &mut actions);
        actions.sort_by_key(|(at, _)| *at);
        let fast = dice.u32(0..3);
        let slow = fast + *pick(&mut dice, &[0, 2, 20, 400]);
        let config = delivery::config::Config {
            settle_timeout: dice.u32(1..20) * SECOND,
            unstored_max: *pick(&mut dice, &[2, 20, 1_000]),
            events_cached_max: *pick(&mut dice, &[1, 10, 1_000]),
            disable_after: *pick(&mut dice, &[None, Some(1_800 * SECOND), Some(86_400 * SECOND)]),
        };
        let commit_ms = fast..=slow;
        Self { destinations, receivers, actions, horizon, config, commit_ms, dice }
    }
}

fn pick<'a, T>(dice: &mut Rng, choices: &'a [T]) -> &'a T {
    &choices[dice.usize(..choices.len())]
}

fn millis(dice: &mut Rng, range: RangeInclusive<u64>) -> Duration {
    Duration::from_millis(dice.u64(range))
}

fn destination(dice: &mut Rng, number: usize, horizon: Duration) -> Destination {
    let name = DestinationName::new(&format!("d{number}"));
    let is_batch = dice.u8(0..10) < 4;
    let format = if is_batch {
        Format::CloudEvents(CloudEventsMode::Batch)
    } else {
        *pick(dice, &[Format::Event, Format::CloudEvents(CloudEventsMode::Structured)])
    };
    let mut event_types = vec![EventType::Completion];
    for kind in EventType::ALL.into_iter().skip(1) {
        if dice.bool() {
            event_types.push(kind);
        }
    }
    let initial_delay = millis(dice, 0..=3_000);
    // Probes of a day must not fill the run.
    let max_delay = (horizon / 2_000).max(millis(dice, 10..=60_000)).max(initial_delay);
    let retry = RetryPolicy {
        max_attempts: dice.u32(1..=7),
        initial_delay,
        multiplier: 1.0 + 2.0 * dice.f64(),
        max_delay,
        retry_after_max: *pick(dice, &[10 * SECOND, 600 * SECOND, 3_600 * SECOND]),
        retryable_status_codes: vec![408, 429, 500, 502, 503, 504],
    };
    let asked = Destination {
        url: format!("https://{}/hook", host_of(&name, 0)),
        name,
        format,
        event_types,
        sample_rate: *pick(dice, &[1.0, 1.0, 1.0, 0.6]),
        batch: Batch {
            events_max: if is_batch { dice.usize(1..=20) } else { 1 },
            bytes_max: *pick(dice, &[2_000, 1 << 20, 1 << 20]),
            flush_interval: millis(dice, 0..=5_000),
        },
        retry,
        timeout: millis(dice, 200..=20_000),
        concurrent_deliveries: dice.usize(1..=12),
        queue_size: dice.usize(1..=60),
        rate_limit: (dice.u8(0..4) == 0).then(|| dice.u32(1..=40)),
        strict_order: dice.u8(0..5) == 0,
        privacy: dice.u8(0..8) == 0,
        ..sample::destination()
    };
    let with_backup = dice.u8(0..4) == 0;
    let backup = with_backup.then(|| {
        let url = format!("https://{}/hook", host_of(&asked.name, 1));
        let name = DestinationName::new(&format!("{}-backup", asked.name));
        Box::new(Destination { name, url, ..asked.clone() })
    });
    Destination { backup, ..asked }
}

fn receiver(dice: &mut Rng, horizon: Duration, relents: bool) -> Receiver {
    let mut moods = Vec::new();
    let mut at = Duration::ZERO;
    // Some are always well, so that runs show what bad ones do to them.
    while dice.u8(0..4) > 0 && at < horizon {
        at += Duration::from_millis(dice.u64(0..=horizon.as_millis() as u64 / 3));
        moods.push((at, mood(dice)));
    }
    let refuses = (dice.u8(0..3) == 0).then(|| Refusal {
        one_of: dice.u64(5..60),
        status: *pick(dice, &[400, 503, 413, 500]),
        aborts: dice.u8(0..5) == 0,
    });
    Receiver { moods, refuses, relents, dice: dice.fork() }
}

fn mood(dice: &mut Rng) -> Mood {
    match dice.u8(0..16) {
        3 => Mood::Slow,
        4 => Mood::Failing(*pick(dice, &[500, 503, 400, 302])),
        5 => Mood::Failing(503),
        6 | 7 => Mood::Flaky(dice.u8(10..90)),
        8 => Mood::Busy { secs: dice.u32(0..90), as_date: dice.bool() },
        9 => Mood::Busy { secs: dice.u32(0..8_000), as_date: dice.bool() },
        10 => Mood::Resetting,
        11 => Mood::Hanging,
        12 => Mood::Away,
        13 => *pick(dice, &[Mood::Gone, Mood::WantsNoMore]),
        14 => Mood::Small(dice.usize(1..6)),
        _ => Mood::Well,
    }
}

fn traffic(dice: &mut Rng, horizon: Duration) -> Vec<(Duration, Action)> {
    let mut actions = Vec::new();
    let mut number = 0;
    for _ in 0..dice.u32(1..12) {
        let mut at = Duration::from_millis(dice.u64(0..=horizon.as_millis() as u64));
        let spread = *pick(dice, &[0, 5, 100, 3_000]);
        for _ in 0..dice.u32(1..40) {
            at += millis(dice, 0..=spread);
            number += 1;
            call(dice, number, at, &mut actions);
        }
    }
    actions
}

fn call(dice: &mut Rng, number: u32, mut at: Duration, actions: &mut Vec<(Duration, Action)>) {
    let pieces = if dice.u8(0..4) == 0 { dice.u32(1..12) } else { 0 };
    actions.push((at, Action::Arrive(number, pieces > 0)));
    let (mut first, gap) = (0, *pick(dice, &[0, 10, 200, 2_000]));
    for _ in 0..pieces {
        at += millis(dice, 0..=gap);
        let count = dice.u32(1..4);
        actions.push((at, Action::Piece(number, first, count)));
        first += count;
    }
    at += millis(dice, 0..=2_000);
    let end = match dice.u8(0..10) {
        0 => End::Failed,
        1 => End::Limited,
        _ => End::Completed(*pick(dice, &[10, 10, 300, 5_000])),
    };
    actions.push((at, Action::End(number, end)));
}

fn chaos(
    dice: &mut Rng,
    horizon: Duration,
    destinations: &[Destination],
    actions: &mut Vec<(Duration, Action)>,
) {
    let times = *pick(dice, &[0, 1, 4, 10]);
    for _ in 0..dice.u32(0..=times) {
        let at = Duration::from_millis(dice.u64(0..=horizon.as_millis() as u64));
        let name = pick(dice, destinations).name.clone();
        let later = at + millis(dice, 0..=horizon.as_millis() as u64 / 4);
        match dice.u8(0..14) {
            0..4 => {
                let down = millis(dice, 0..=20_000);
                actions.push((at, Action::Crash(dice.u64(0..400), down)));
            }
            4 => actions.push((at, Action::Restart)),
            5 => actions.push((at, Action::Jump(jump(dice)))),
            6 => {
                actions.push((at, Action::Trouble(*pick(dice, &[20, 300, 1_000]))));
                actions.push((at + millis(dice, 0..=30_000), Action::Trouble(0)));
            }
            7 => {
                actions.push((at, Action::Pause(name.clone())));
                actions.push((later, Action::Resume(name)));
            }
            8 => actions.push((at, Action::Resume(name))),
            9 => actions.push((at, Action::Retry(name))),
            10 => actions.push((at, Action::Revive)),
            11 => {
                actions.push((at, Action::Trouble(*pick(dice, &[300, 1_000]))));
                actions.push((later, Action::Trouble(0)));
            }
            12 => {
                actions.push((at, Action::Stall(dice.u32(100..1_000))));
                actions.push((at + millis(dice, 0..=60_000), Action::Stall(0)));
            }
            _ => actions.push((at, Action::Damage)),
        }
    }
}

fn jump(dice: &mut Rng) -> i64 {
    let by = *pick(dice, &[5_000_000, 3_000_000_000, 3_600_000_000_000]);
    let by = dice.i64(1..=by);
    if dice.bool() { by } else { -by }
}
