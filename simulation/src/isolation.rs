//! What one bad receiver among many costs the others: the time from a call's arrival to its delivery
//! at all receivers but that one, with each kind of badness and with none.

use std::{collections::BTreeMap, fmt, time::Duration};

use domain::{
    destination::{Destination, RetryPolicy},
    event::EventType,
    id::DestinationName,
    sample,
};

use crate::{
    calls::{self, End},
    oracle::{Violation, host_of, waiting_max},
    receiver::{Mood, Receiver},
    scenario::{Action, Scenario},
    world::{Options, World, in_virtual_time},
};

const SECOND: Duration = Duration::from_secs(1);
/// The share by which the others' 99th percentile may move.
const P99_MOVES_MAX: f64 = 0.1;

/// How many, and how much.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Destinations, the bad one among them.
    pub destinations: usize,
    /// Seconds of traffic.
    pub secs: u32,
    /// Calls in each second; every destination wants all of them.
    pub calls_per_second: u32,
}

/// Ways to be bad, and none.
pub const WAYS: [(&str, Option<Mood>); 6] = [
    ("none is bad", None),
    ("accepts, never answers", Some(Mood::Hanging)),
    ("drips its answer", Some(Mood::Dripping)),
    ("resets", Some(Mood::Resetting)),
    ("answers 500", Some(Mood::Failing(500))),
    ("is slow", Some(Mood::Slow)),
];

/// What one way came to.
#[derive(Debug, Clone)]
pub struct Row {
    /// The way.
    pub way: &'static str,
    /// Deliveries at the others.
    pub deliveries: usize,
    /// From arrival to delivery there: median, 99th percentile and worst.
    pub took: [Duration; 3],
    /// Of the bad one: the most deliveries that its lane held, and how many it may.
    pub waiting: (usize, usize),
    /// The first promise that was broken.
    pub violation: Option<Violation>,
}

impl Row {
    /// What is not as promised, beside a row in which none is bad.
    pub fn problems(&self, well: &Self) -> Vec<String> {
        let mut problems: Vec<String> = self.violation.iter().map(ToString::to_string).collect();
        let (waiting, most) = self.waiting;
        if waiting > most {
            problems.push(format!("the bad lane holds {waiting} deliveries, of {most}"));
        }
        if self.deliveries != well.deliveries {
            problems.push(format!("{} deliveries instead of {}", self.deliveries, well.deliveries));
        }
        if self.moved_from(well).abs() >= P99_MOVES_MAX {
            problems.push(format!("p99 is {:?} instead of {:?}", self.took[1], well.took[1]));
        }
        problems
    }

    /// By how much of it the 99th percentile differs from that of another row.
    pub fn moved_from(&self, other: &Self) -> f64 {
        self.took[1].as_secs_f64() / other.took[1].as_secs_f64() - 1.0
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, p99, worst] = self.took.map(|took| took.as_secs_f64() * 1_000.0);
        let (waiting, most) = self.waiting;
        write!(
            f,
            "{:<24}{:>9} deliveries  median {median:>5.1} ms  p99 {p99:>5.1} ms  worst {worst:>5.1} ms  \
             the bad lane holds {waiting} of {most}",
            self.way, self.deliveries,
        )
    }
}

/// Measures every way; the first row has none.
pub fn measure(plan: Plan) -> Vec<Row> {
    WAYS.iter().map(|(way, mood)| measure_one(plan, way, *mood)).collect()
}

fn measure_one(plan: Plan, way: &'static str, mood: Option<Mood>) -> Row {
    fastrand::seed(0);
    in_virtual_time(async {
        let mut world = World::new(scenario(plan, mood), Options::default()).await;
        let (bad, mut waiting) = (name(0), 0);
        for second in 0..plan.secs {
            schedule(&mut world, plan, second);
            world.scenario.horizon = SECOND * (second + 1);
            world.play().await;
            waiting = waiting.max(held(&world, &bad));
        }
        // The last calls of the last second are still on their way.
        world.scenario.horizon += SECOND;
        world.play().await;
        let mut times: Vec<Duration> = (1..plan.destinations)
            .flat_map(|number| delays(world.oracle.taken_at(&name(number))))
            .collect();
        times.sort_unstable();
        let most = waiting_max(&destination(0));
        let report = world.end().await;
        Row {
            way,
            deliveries: times.len(),
            took: [50, 99, 100].map(|percent| percentile(&times, percent)),
            waiting: (waiting, most),
            violation: report.violation,
        }
    })
}

fn scenario(plan: Plan, mood: Option<Mood>) -> Scenario {
    let mut receivers = Vec::new();
    for number in 0..plan.destinations {
        let mut receiver = Receiver::well(number as u64);
        if number == 0 {
            receiver.moods.extend(mood.map(|mood| (Duration::ZERO, mood)));
        }
        receivers.push((host_of(&name(number), 0), receiver));
    }
    Scenario {
        destinations: (0..plan.destinations).map(destination).collect(),
        receivers,
        actions: Vec::new(),
        horizon: Duration::ZERO,
        config: delivery::config::Config {
            settle_timeout: 10 * SECOND,
            unstored_max: 1_000,
            events_cached_max: 1_000,
            disable_after: None,
        },
        commit_ms: 0..=2,
        dice: fastrand::Rng::with_seed(0),
    }
}

fn name(number: usize) -> DestinationName {
    DestinationName::new(&format!("d{number}"))
}

/// One with the defaults of a gateway whose files say nothing.
fn destination(number: usize) -> Destination {
    Destination {
        url: format!("https://{}/hook", host_of(&name(number), 0)),
        name: name(number),
        event_types: vec![EventType::Completion, EventType::Error],
        retry: RetryPolicy {
            max_attempts: 5,
            initial_delay: SECOND,
            multiplier: 2.0,
            max_delay: Duration::from_mins(1),
            retry_after_max: Duration::from_hours(1),
            retryable_status_codes: vec![408, 429, 500, 502, 503, 504],
        },
        timeout: 30 * SECOND,
        concurrent_deliveries: 10,
        queue_size: 1_000,
        ..sample::destination()
    }
}

/// The calls of a second, evenly.
fn schedule(world: &mut World, plan: Plan, second: u32) {
    for number in 0..plan.calls_per_second {
        let at = SECOND * second + SECOND * number / plan.calls_per_second;
        let call = second * plan.calls_per_second + number;
        world.schedule(at, Action::Arrive(call, false));
        world.schedule(at, Action::End(call, End::Completed(300)));
    }
}

fn held(world: &World, lane: &DestinationName) -> usize {
    let lane = world.life.as_ref().and_then(|life| life.control.get(lane));
    lane.map_or(0, |lane| lane.waiting)
}

/// From arrival to the first delivery, for each event.
fn delays(taken_at: BTreeMap<String, Vec<Duration>>) -> impl Iterator<Item = Duration> {
    let began = u64::try_from(sample::NOW.as_millis()).unwrap_or_default();
    taken_at.into_iter().filter_map(move |(event, times)| {
        let arrived = Duration::from_millis(calls::arrived_at_ms(&event)? - began);
        Some(times.first()?.saturating_sub(arrived))
    })
}

/// The value that so many of a hundred do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}
