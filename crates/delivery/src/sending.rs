//! Which delivery goes next, to whom, and the attempt itself.

use std::{collections::VecDeque, sync::Arc};

use domain::{
    delivery::EventRef, destination::Destination, id::DeliveryId, record::Sequence, time::Timestamp,
};
use webhook::{body::Body, format, request};

use crate::{
    lane::{Ending, Lane},
    reading::{RebuildError, delivery, rebuild},
    send::{SendLimits, Sent},
    service::Shared,
    shelf::{Attempts, Waiting},
    streaming::Merged,
};

/// A delivery of outcomes, before or between attempts.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) id: DeliveryId,
    pub(crate) events: Vec<EventRef>,
    pub(crate) attempts: Attempts,
    /// As rendered; a parked one renders it again from the journal.
    pub(crate) body: Option<Body>,
    /// Whether a row keeps it, so that the cursor may pass it.
    pub(crate) is_parked: bool,
    /// Whether it goes without message texts, because the receiver does not take it with them.
    pub(crate) is_thin: bool,
    /// How often it was tried in vain while the receiver was down.
    pub(crate) probes: u32,
}

impl Delivery {
    fn bytes(&self) -> usize {
        self.body.as_ref().map_or(0, Body::len)
    }

    fn first(&self) -> Option<Sequence> {
        self.events.first().map(|event| event.sequence)
    }

    pub(crate) fn of(waiting: Waiting) -> Self {
        let Waiting { id, events, attempts, is_thin, .. } = waiting;
        Self { id, events, attempts, body: None, is_parked: true, is_thin, probes: 0 }
    }
}

/// Deliveries that were read and not yet tried, or that go again because the receiver is down.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    tried: usize,
}

impl Queue {
    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.count(&delivery);
        self.deliveries.push_back(delivery);
    }

    /// Puts one back before those that are younger.
    pub(crate) fn put_back(&mut self, delivery: Delivery) {
        self.count(&delivery);
        let is_older = |other: &Delivery| other.first() < delivery.first();
        self.deliveries.insert(self.deliveries.partition_point(is_older), delivery);
    }

    fn count(&mut self, delivery: &Delivery) {
        self.bytes += delivery.bytes();
        self.tried += usize::from(delivery.probes > 0);
    }

    /// Takes the oldest, as it holds the cursor. To probe with, those that have failed least often are
    /// better.
    fn pop(&mut self, probing: bool) -> Option<Delivery> {
        let probes = self.deliveries.iter().map(|delivery| delivery.probes).enumerate();
        let at = if probing { probes.min_by_key(|(_, probes)| *probes)?.0 } else { 0 };
        let delivery = self.deliveries.remove(at)?;
        self.bytes -= delivery.bytes();
        self.tried -= usize::from(delivery.probes > 0);
        Some(delivery)
    }

    pub(crate) fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Those that were not tried in vain while the receiver was down.
    pub(crate) fn untried(&self) -> usize {
        self.deliveries.len() - self.tried
    }

    /// Rendered bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What an attempt carries.
#[derive(Debug)]
pub(crate) enum Work {
    /// Outcomes.
    Delivery(Delivery),
    /// Tokens of a running stream.
    Piece(Merged),
}

/// Whom an attempt goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Primary,
    Backup,
}

/// An attempt on its way.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) work: Work,
    pub(crate) target: Target,
    pub(crate) started_at: Timestamp,
    /// How often the receiver had said by then that it was too much.
    pub(crate) refusals_before: u64,
    /// It was refused for load after another that ran beside it.
    pub(crate) is_old_news: bool,
}

impl Running {
    /// The id of what it carries.
    pub(crate) fn id(&self) -> &str {
        match &self.work {
            Work::Delivery(delivery) => delivery.id.as_str(),
            Work::Piece(merged) => merged.event.id.as_str(),
        }
    }

    /// The attempts that count against what it carries; pieces of streams have no count.
    pub(crate) fn attempts_mut(&mut self) -> Option<&mut Attempts> {
        match &mut self.work {
            Work::Delivery(delivery) => Some(&mut delivery.attempts),
            Work::Piece(_) => None,
        }
    }

    /// Whether it carries a delivery of that id.
    pub(crate) fn is(&self, id: &DeliveryId) -> bool {
        matches!(&self.work, Work::Delivery(delivery) if delivery.id == *id)
    }
}

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Tried {
    /// It was sent, or could not be.
    Sent(Sent),
    /// The journal could not be read for its body.
    Unreadable(String),
    /// These of its events can no longer be made; nothing was sent.
    Missing(Vec<EventRef>),
}

impl Lane {
    /// Starts attempts while there is room and something is due.
    pub(crate) fn launch(&mut self) {
        loop {
            let now = self.now();
            if self.ending == Some(Ending::Halt)
                || now < self.next_send_at
                || self.books.is_failing()
                || self.books.unstored() + self.attempts.len() >= self.shared.config.unstored_max
            {
                return;
            }
            let Some(target) = self.target(now) else { return };
            let Some(work) = self.next_work(target, now) else { return };
            if let Some(per_second) = self.destination.rate_limit {
                self.next_send_at =
                    webhook::schedule::send_next_at(per_second, self.next_send_at, now);
            }
            self.start(work, target, now);
        }
    }

    /// Who may be sent to now: the destination itself, or its backup while it is failing.
    fn target(&self, now: Timestamp) -> Option<Target> {
        if self.destination.strict_order && !self.running.is_empty() {
            return None;
        }
        if self.primary_health.has_room(self.in_flight(Target::Primary), now) {
            return Some(Target::Primary);
        }
        let may_stand_in = self.backup.is_some() && self.primary_health.breaker.needs_backup(now);
        let has_room = self.backup_health.has_room(self.in_flight(Target::Backup), now);
        (may_stand_in && has_room).then_some(Target::Backup)
    }

    /// Attempts that run at one receiver.
    pub(crate) fn in_flight(&self, target: Target) -> usize {
        self.running.values().filter(|running| running.target == target).count()
    }

    fn next_work(&mut self, target: Target, now: Timestamp) -> Option<Work> {
        let probing = self.health(target).breaker.is_open();
        let parked_first = if self.destination.strict_order {
            if self.shelf.holds_up() {
                let next = self.shelf.take_in_order(now, probing);
                return next.map(Delivery::of).map(Work::Delivery);
            }
            false
        } else {
            // Probes take turns between new and parked ones: a delivery that this receiver never
            // takes must not keep the others from showing that it is back.
            let parked_first = !probing || std::mem::take(&mut self.probe_parked_next);
            self.probe_parked_next |= probing && !parked_first;
            parked_first
        };
        let first =
            if parked_first { self.next_parked(now, probing) } else { self.next_queued(probing) };
        first.or_else(|| self.streams.next(now).map(Work::Piece)).or_else(|| {
            if parked_first { self.next_queued(probing) } else { self.next_parked(now, probing) }
        })
    }

    fn next_queued(&mut self, probing: bool) -> Option<Work> {
        self.queue.pop(probing).map(Work::Delivery)
    }

    fn next_parked(&mut self, now: Timestamp, early: bool) -> Option<Work> {
        self.shelf.take(now, early).map(Delivery::of).map(Work::Delivery)
    }

    fn start(&mut self, work: Work, target: Target, now: Timestamp) {
        let destination = match (target, &self.backup) {
            (Target::Backup, Some(backup)) => Arc::clone(backup),
            _ => Arc::clone(&self.destination),
        };
        let mut written_for = Arc::clone(&self.destination);
        let (id, events, body) = match &work {
            Work::Delivery(delivery) => {
                if delivery.is_thin {
                    let full = Destination::clone(&written_for);
                    written_for = Arc::new(Destination { privacy: true, ..full });
                }
                (delivery.id.clone(), delivery.events.clone(), delivery.body.clone())
            }
            Work::Piece(merged) => {
                let items = format::items(&merged.event, &self.destination);
                let made = delivery(&self.destination, &items);
                (made.id, made.events, made.body)
            }
        };
        self.health(target).breaker.began();
        let attempt = Attempt {
            shared: Arc::clone(&self.shared),
            written_for,
            destination,
            id,
            events,
            body,
            now,
        };
        let task = self.attempts.spawn(attempt.run());
        let throttle = &mut self.health(target).throttle;
        throttle.began(now);
        let refusals_before = throttle.refusals();
        let running =
            Running { work, target, started_at: now, refusals_before, is_old_news: false };
        self.running.insert(task.id(), running);
    }
}

struct Attempt {
    shared: Arc<Shared>,
    /// Whose format the body has: a backup takes what its primary would have got.
    written_for: Arc<Destination>,
    destination: Arc<Destination>,
    id: DeliveryId,
    events: Vec<EventRef>,
    body: Option<Body>,
    now: Timestamp,
}

impl Attempt {
    async fn run(self) -> Tried {
        let body = match self.body {
            Some(body) => body,
            None => match rebuild(&self.shared, &self.written_for, &self.events).await {
                Ok(body) => body,
                Err(RebuildError::Missing(missing)) => return Tried::Missing(missing),
                Err(RebuildError::Read(error)) => return Tried::Unreadable(error.to_string()),
            },
        };
        let content_type = format::content_type(self.written_for.format);
        let request = request::build(&self.destination, &self.id, content_type, body, self.now);
        let limits = SendLimits::of(&self.destination);
        let mut sent = self.shared.sender.send(request, limits).await;
        if let Ok(answer) = &mut sent.answer {
            answer.hide_secrets(&self.destination);
        }
        Tried::Sent(sent)
    }
}
