//! Which delivery goes next, to whom, and the attempt itself.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use domain::{delivery::EventRef, destination::Destination, id::DeliveryId, time::Timestamp};
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
}

impl Delivery {
    fn bytes(&self) -> usize {
        self.body.as_ref().map_or(0, Body::len)
    }

    fn of(waiting: Waiting) -> Self {
        let Waiting { id, events, attempts, .. } = waiting;
        Self { id, events, attempts, body: None, is_parked: true }
    }
}

/// Deliveries that were read and not yet tried, or that go again because the receiver is down.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.bytes += delivery.bytes();
        self.deliveries.push_back(delivery);
    }

    fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.deliveries.pop_front()?;
        self.bytes -= delivery.bytes();
        Some(delivery)
    }

    pub(crate) fn len(&self) -> usize {
        self.deliveries.len()
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
            {
                return;
            }
            let Some(target) = self.target(now) else { return };
            let Some(work) = self.next_work(target, now) else { return };
            if let Some(per_second) = self.destination.rate_limit {
                let gap = Duration::from_secs(1) / per_second.max(1);
                // A pause is not saved up for a burst.
                self.next_send_at = self.next_send_at.max(now).plus(gap);
            }
            self.start(work, target, now);
        }
    }

    /// Who may be sent to now: the destination itself, or its backup while it is failing.
    fn target(&self, now: Timestamp) -> Option<Target> {
        let running = |target| self.running.values().filter(|r| r.target == target).count();
        let most = self.destination.concurrent_deliveries;
        if running(Target::Primary) < self.primary_breaker.room(most, now) {
            return Some(Target::Primary);
        }
        let may_stand_in = self.backup.is_some() && self.primary_breaker.needs_backup(now);
        let room = self.backup_breaker.room(most, now);
        (may_stand_in && running(Target::Backup) < room).then_some(Target::Backup)
    }

    fn next_work(&mut self, target: Target, now: Timestamp) -> Option<Work> {
        let probing = self.breaker(target).is_open();
        // Probes take turns between new and parked ones: a delivery that this receiver never takes
        // must not keep the others from showing that it is back.
        let parked_first = !probing || std::mem::take(&mut self.probe_parked_next);
        if probing && !parked_first {
            self.probe_parked_next = true;
        }
        let queued = |lane: &mut Self| lane.queue.pop().map(Work::Delivery);
        let parked = |lane: &mut Self| {
            let waiting = lane.shelf.take(now, probing)?;
            Some(Work::Delivery(Delivery::of(waiting)))
        };
        let first = if parked_first { parked(self) } else { queued(self) };
        first
            .or_else(|| self.streams.next(now).map(Work::Piece))
            .or_else(|| if parked_first { queued(self) } else { parked(self) })
    }

    fn start(&mut self, work: Work, target: Target, now: Timestamp) {
        let destination = match (target, &self.backup) {
            (Target::Backup, Some(backup)) => Arc::clone(backup),
            _ => Arc::clone(&self.destination),
        };
        let (id, events, body) = match &work {
            Work::Delivery(delivery) => {
                (delivery.id.clone(), delivery.events.clone(), delivery.body.clone())
            }
            Work::Piece(merged) => {
                let items = format::items(&merged.event, &self.destination);
                let made = delivery(&self.destination, &items);
                (made.id, made.events, made.body)
            }
        };
        self.breaker(target).began();
        let attempt = Attempt {
            shared: Arc::clone(&self.shared),
            written_for: Arc::clone(&self.destination),
            destination,
            id,
            events,
            body,
            now,
        };
        let task = self.attempts.spawn(attempt.run());
        self.running.insert(task.id(), Running { work, target, started_at: now });
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
