//! What is true of attempts: when they begin, how many, in which order, and what they carry.
//!
//! Counts what surely counts and forbids what is surely forbidden; where a lane may know more than
//! can be seen from outside, it is believed.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use domain::{id::EventId, time::Timestamp};
use webhook::{request::delivery_id, verdict::Answer};

use super::{
    Flight, Rule, Violation,
    lane::{LaneWatch, broken},
};
use crate::{
    calls,
    receiver::{Asked, Plan, hash},
};

/// Failures in a row after which the receiver is taken for down (DESIGN, "Whose fault").
const FAILURES_TO_OPEN: u32 = 5;

/// A lane since it was last opened: what it knows only in memory.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) number: u64,
    /// When attempts began within the last second, and whether the body was read for it.
    pub(super) sends: VecDeque<(Duration, bool)>,
    /// When the wall clock last jumped.
    pub(super) jumped_at: Option<Duration>,
    /// Failures that surely count against a delivery, for others passed after them; and when that
    /// was last so.
    pub(super) confirmed: HashMap<String, (u32, Duration)>,
    /// Those that will once another passes.
    at_risk: Vec<String>,
    /// What has failed since anything passed.
    failing: HashSet<String>,
    targets: [Target; 2],
    /// What failed while a receiver was down may go again as soon as it is back.
    eager: HashSet<String>,
    streams: HashMap<String, Stream>,
    /// Attempts that have ended, and are not stored.
    pub(super) unstored: usize,
}

impl Run {
    pub(super) fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }
}

/// A receiver, as far as the lane must know it.
#[derive(Debug, Default)]
struct Target {
    in_flight: usize,
    probes_in_flight: usize,
    paused_until: Timestamp,
    paused_at: Duration,
    /// Failures in a row that surely count towards taking it for down.
    failures: u32,
    /// When it was surely taken for down.
    down_at: Duration,
    /// Failures in a row that may count.
    failures_perhaps: u32,
    may_be_open: bool,
}

/// A call that streams.
#[derive(Debug, Default)]
struct Stream {
    in_flight: bool,
    acked_to: Option<u32>,
    has_outcome: bool,
}

/// What an attempt's end means, from outside.
enum Meaning {
    Taken,
    /// Worth another attempt.
    Failed,
    /// Never to be taken.
    Refused,
    /// It says nothing of the receiver.
    Nothing,
    TooLarge,
    /// Nothing is wanted any more.
    Gone,
}

impl LaneWatch {
    pub(super) fn begins(
        &mut self,
        flight: &mut Flight,
        body: &str,
        now: Duration,
        wall: Timestamp,
    ) -> Result<(), Violation> {
        flight.run = self.run.number;
        if self.is_paused {
            return broken(Rule::SentWhilePaused, format!("{} to {}", flight.id, flight.lane));
        }
        self.check_gone(flight, now)?;
        self.check_identity(flight, hash(body))?;
        self.check_text(flight, body)?;
        self.check_times(flight, now, wall)?;
        self.check_room(flight, now)?;
        self.check_pieces(flight)?;
        self.check_events(flight)?;
        if self.asked.strict_order {
            self.check_order(flight)?;
        }
        Ok(())
    }

    fn check_gone(&self, flight: &Flight, now: Duration) -> Result<(), Violation> {
        let Some(gone_at) = self.gone_at else { return Ok(()) };
        if self.had_begun(flight, gone_at, now) {
            return Ok(());
        }
        broken(Rule::SentWhilePaused, format!("{} to {}, which is gone", flight.id, flight.lane))
    }

    fn check_identity(&mut self, flight: &Flight, body: u64) -> Result<(), Violation> {
        let ids: Vec<EventId> = flight.events.iter().map(|id| EventId::from_stored(id)).collect();
        let expected = delivery_id(&ids.iter().collect::<Vec<_>>());
        if expected.as_str() != flight.id {
            let what = format!("{} should be {expected} by its events", flight.id);
            return broken(Rule::Unstable, what);
        }
        // What was too large may go without its texts.
        let bodies_max = if self.too_large.contains(&flight.id) { 2 } else { 1 };
        let bodies = self.bodies.entry(flight.id.clone()).or_default();
        if !bodies.contains(&body) {
            bodies.push(body);
        }
        if bodies.len() > bodies_max {
            let what = format!("{} to {} has another body", flight.id, flight.lane);
            return broken(Rule::Unstable, what);
        }
        Ok(())
    }

    fn check_text(&self, flight: &Flight, body: &str) -> Result<(), Violation> {
        let Some(piece) = flight.piece() else { return Ok(()) };
        let text: String = (piece.first..=piece.last).map(calls::token).collect();
        let goes_without = self.asked.privacy || self.too_large.contains(&flight.id);
        if goes_without || body.contains(&text) {
            return Ok(());
        }
        broken(Rule::Unstable, format!("{} to {} lacks some of its text", flight.id, flight.lane))
    }

    fn check_times(
        &mut self,
        flight: &Flight,
        now: Duration,
        wall: Timestamp,
    ) -> Result<(), Violation> {
        let Flight { id, lane, target, .. } = flight;
        let is_reread = self.is_reread(flight);
        let Target { paused_until: until, paused_at, .. } = self.run.targets[*target];
        let jumped_meanwhile =
            self.run.jumped_at.is_some_and(|jumped_at| self.had_begun(flight, jumped_at, now));
        if wall < until && !self.had_begun(flight, paused_at, now) && !jumped_meanwhile {
            let what = format!("{id} to {lane} at {wall}, which asked for rest until {until}");
            return broken(Rule::TooEarly, what);
        }
        let may_probe = self.run.targets.iter().any(|target| target.may_be_open);
        let is_early = !may_probe && !jumped_meanwhile && !self.run.eager.contains(id);
        let due = self.due.remove(id).filter(|due| wall < *due && is_early);
        if let Some(due) = due {
            return broken(Rule::TooEarly, format!("{id} to {lane} at {wall}, due at {due}"));
        }
        if let Some(per_second) = self.asked.rate_limit {
            let sends = &mut self.run.sends;
            while sends.front().is_some_and(|(began, _)| *began + Duration::from_secs(1) <= now) {
                sends.pop_front();
            }
            // Where the body is read first, it may leave a little late, and close before the next.
            sends.push_back((now, is_reread));
            let late = sends.iter().filter(|(_, is_reread)| *is_reread).count();
            if sends.len() > per_second as usize + late {
                let what = format!("{} to {lane} in a second, of {per_second}", sends.len());
                return broken(Rule::TooFast, what);
            }
        }
        let (confirmed, at) = self.run.confirmed.get(id).copied().unwrap_or_default();
        if confirmed >= self.asked.retry.max_attempts && !self.had_begun(flight, at, now) {
            let what = format!("{id} to {lane} has failed {confirmed} times while others passed");
            return broken(Rule::TooOften, what);
        }
        Ok(())
    }

    /// Whether its body may be read from the journal before it leaves.
    fn is_reread(&self, flight: &Flight) -> bool {
        flight.events.iter().any(|event| self.reread.contains(event))
    }

    /// Whether it may have begun before that time, and left only now because its body was read.
    fn had_begun(&self, flight: &Flight, before: Duration, now: Duration) -> bool {
        self.is_reread(flight) && now <= before + self.given.read_time
    }

    fn check_room(&mut self, flight: &mut Flight, now: Duration) -> Result<(), Violation> {
        let down_at = self.run.targets[flight.target].down_at;
        let had_begun = self.had_begun(flight, down_at, now);
        let Flight { id, lane, target: at, is_probe, .. } = flight;
        let in_all: usize = self.run.targets.iter().map(|target| target.in_flight).sum();
        let target = &mut self.run.targets[*at];
        let is_down = target.failures >= FAILURES_TO_OPEN && !had_begun;
        if is_down && target.probes_in_flight > 0 {
            let what = format!("{id} to {lane}, which is down and has a probe already");
            return broken(Rule::TooMany, what);
        }
        *is_probe = is_down;
        target.probes_in_flight += usize::from(is_down);
        target.in_flight += 1;
        let most = self.asked.concurrent_deliveries;
        if target.in_flight > most {
            let what = format!("{} in flight to {lane}, of {most}", target.in_flight);
            return broken(Rule::TooMany, what);
        }
        if self.asked.strict_order && in_all > 0 {
            return broken(Rule::TooMany, format!("{id} to {lane} beside another, in order"));
        }
        Ok(())
    }

    fn check_pieces(&mut self, flight: &Flight) -> Result<(), Violation> {
        let Flight { id, lane, .. } = flight;
        if let Some(piece) = flight.piece() {
            let stream = self.run.streams.entry(piece.call.to_owned()).or_default();
            let is_behind = stream.acked_to.is_some_and(|last| piece.first <= last);
            if stream.in_flight || stream.has_outcome || is_behind {
                let what = format!("{id} to {lane}: {stream:?}");
                return broken(Rule::PieceOverlaps, what);
            }
            stream.in_flight = true;
            return Ok(());
        }
        for call in flight.calls() {
            if let Some(stream) = self.run.streams.get_mut(call) {
                if stream.in_flight {
                    let what = format!("{id} to {lane} while a piece is in flight");
                    return broken(Rule::PieceOverlaps, what);
                }
                stream.has_outcome = true;
            } else if self.asked.wants(domain::event::EventType::Streaming) {
                let stream = Stream { has_outcome: true, ..Stream::default() };
                self.run.streams.insert(call.to_owned(), stream);
            }
        }
        Ok(())
    }

    fn check_events(&mut self, flight: &Flight) -> Result<(), Violation> {
        if flight.piece().is_some() {
            return Ok(());
        }
        let (run, lane) = (self.run.number, &flight.lane);
        for id in &flight.events {
            let Some(item) = self.items.get_mut(id) else {
                return broken(Rule::Unasked, format!("{id} to {lane}"));
            };
            item.sends += 1;
            let may_come_again = item.was_dead || item.is_told_twice;
            if item.is_acked && item.acked_in == Some(run) && !may_come_again {
                return broken(Rule::SentAgain, format!("{id} to {lane}"));
            }
        }
        Ok(())
    }

    fn check_order(&mut self, flight: &Flight) -> Result<(), Violation> {
        let carried = flight.events.iter().filter_map(|id| self.items.get(id));
        let Some(first) = carried.map(|item| item.sequence).min() else { return Ok(()) };
        if first <= self.order_from {
            return Ok(());
        }
        let most = self.asked.retry.max_attempts;
        for (sequence, ids) in self.owed.range(self.order_from..first) {
            for id in ids {
                let is_passed = self.items.get(id).is_some_and(|item| {
                    item.is_acked || item.was_dead || item.is_refused || item.sends >= most
                });
                if !is_passed {
                    let what = format!("{} to {} overtakes {id}", flight.id, flight.lane);
                    return broken(Rule::Disordered, what);
                }
            }
            self.order_from = *sequence;
        }
        Ok(())
    }

    pub(super) fn arrives(&mut self, flight: &Flight, takes: bool, at: Duration) {
        if takes {
            for id in &flight.events {
                if let Some(item) = self.items.get_mut(id) {
                    item.taken_at.push(at);
                }
            }
        }
    }

    pub(super) fn ends(
        &mut self,
        flight: Flight,
        plan: &Plan,
        now: Duration,
        wall: Timestamp,
    ) -> Result<(), Violation> {
        let meaning = meaning(plan, &self.asked.retry.retryable_status_codes);
        for id in &flight.events {
            let Some(item) = self.items.get_mut(id) else { continue };
            match meaning {
                Meaning::Taken => {
                    item.is_acked = true;
                    item.acked_in = Some(flight.run);
                }
                Meaning::Refused | Meaning::TooLarge | Meaning::Nothing => item.is_refused = true,
                Meaning::Failed | Meaning::Gone => {}
            }
        }
        if matches!(meaning, Meaning::TooLarge) {
            self.too_large.insert(flight.id.clone());
        }
        if !matches!(meaning, Meaning::Taken) {
            // It may go again in halves, or without texts.
            self.reread.extend(flight.events.iter().cloned());
        }
        if flight.run != self.run.number {
            return Ok(());
        }
        self.run.unstored += usize::from(flight.piece().is_none());
        let unstored = self.run.unstored;
        if let Some(piece) = flight.piece()
            && let Some(stream) = self.run.streams.get_mut(piece.call)
        {
            stream.in_flight = false;
            if matches!(meaning, Meaning::Taken) {
                stream.acked_to = Some(piece.last);
            }
        }
        if plan.answer.as_ref().is_ok_and(Answer::wants_no_more) && self.asked.backup.is_none() {
            self.gone_at = Some(now);
        }
        let longest = self.asked.retry.retry_after_max;
        let target = &mut self.run.targets[flight.target];
        target.in_flight -= 1;
        target.probes_in_flight -= usize::from(flight.is_probe);
        if let (Some(asked), Meaning::Failed) = (plan.asked, &meaning) {
            let asked = match asked {
                Asked::For(asked) => asked,
                Asked::Until(until) => until.since(wall),
            };
            target.paused_until = target.paused_until.max(wall.plus(asked.min(longest)));
            target.paused_at = now;
            target.may_be_open = true;
            self.run.at_risk.clear();
        }
        let id = flight.id.clone();
        self.count(flight, plan, &meaning, now);
        if self.run.targets.iter().any(|target| target.may_be_open) {
            self.run.eager.insert(id);
        } else {
            self.run.eager.remove(&id);
        }
        let most = self.given.unstored_max;
        if unstored > most {
            let what = format!("{unstored} attempts of {}, at most {most}", self.asked.name);
            return broken(Rule::Unstored, what);
        }
        Ok(())
    }

    fn count(&mut self, flight: Flight, plan: &Plan, meaning: &Meaning, now: Duration) {
        let is_piece = flight.piece().is_some();
        let run = &mut self.run;
        let target = &mut run.targets[flight.target];
        // Where order is strict and one fails after another, nothing shows whose fault it is.
        let is_pardoned = self.asked.strict_order
            && !is_piece
            && !matches!(meaning, Meaning::Taken)
            && run.failing.iter().any(|id| *id != flight.id);
        if is_pardoned {
            run.at_risk.clear();
        } else if !is_piece {
            run.failing.insert(flight.id.clone());
        }
        match meaning {
            Meaning::Taken => {
                target.failures = 0;
                target.failures_perhaps = 0;
                run.failing.clear();
                target.may_be_open =
                    plan.answer.as_ref().is_ok_and(|answer| answer.control.is_some());
                for id in run.at_risk.drain(..) {
                    let (count, at) = run.confirmed.entry(id).or_default();
                    *count += 1;
                    *at = now;
                }
            }
            Meaning::Failed | Meaning::Refused => {
                target.failures_perhaps += 1;
                target.may_be_open |= target.failures_perhaps >= FAILURES_TO_OPEN;
                // A 429 says nothing new after another that came while it ran; which is that,
                // only the lane knows.
                let is_for_load = plan.answer.as_ref().is_ok_and(|answer| answer.status == 429);
                target.failures += u32::from(!is_piece && !is_for_load);
                if target.failures == FAILURES_TO_OPEN {
                    target.down_at = now;
                }
                if target.may_be_open {
                    run.at_risk.clear();
                } else if !is_piece && !is_pardoned {
                    run.at_risk.push(flight.id);
                }
            }
            Meaning::TooLarge | Meaning::Nothing => {
                target.failures_perhaps += 1;
                target.may_be_open |= target.failures_perhaps >= FAILURES_TO_OPEN;
                if target.may_be_open {
                    run.at_risk.clear();
                }
            }
            Meaning::Gone => {
                target.may_be_open = true;
                run.at_risk.clear();
            }
        }
    }
}

fn meaning(plan: &Plan, retryable: &[u16]) -> Meaning {
    let Ok(Answer { status, control, .. }) = &plan.answer else { return Meaning::Failed };
    match status {
        200..=299 => Meaning::Taken,
        410 => Meaning::Gone,
        _ if control.as_deref() == Some("disable") => Meaning::Gone,
        _ if control.is_some() => Meaning::Nothing,
        413 => Meaning::TooLarge,
        status if retryable.contains(status) => Meaning::Failed,
        _ => Meaning::Refused,
    }
}
