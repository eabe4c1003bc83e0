//! What became of attempts: delivered, parked, or buried. `books` says so durably.

use std::{sync::Arc, time::Duration};

use domain::{
    carried::Carried,
    delivery::{Attempt, DeadLetter, EventRef},
    id::{DeliveryId, DestinationName, EventId},
    record::Sequence,
    time::Timestamp,
};
use tokio::task::JoinError;
use webhook::{
    request::delivery_id,
    schedule::wait_before,
    verdict::{Verdict, answer_start, judge},
};

use crate::{
    health::Health,
    lane::{Ending, Lane},
    notes,
    reading::RENDERED_BYTES_MAX,
    roster::Disabled,
    send::{SendErrorKind, Sent},
    sending::{Delivery, Running, Target, Tried, Work},
    shelf::Waiting,
    streaming::Released,
};

/// An outage that was shorter than this is not told of once it is over.
const WORTH_TELLING: Duration = Duration::from_mins(1);

/// Whether another attempt makes sense.
#[derive(Clone, Copy)]
pub(crate) enum Again {
    /// It does, and the receiver asked to wait so long; zero if it asked for nothing.
    After(Duration),
    /// It would end the same way.
    Useless,
}

impl Lane {
    /// Takes note of how an attempt ended.
    pub(crate) fn ended(&mut self, ended: Result<(tokio::task::Id, Tried), JoinError>) {
        let (id, tried) = match ended {
            Ok((id, tried)) => (id, tried),
            Err(error) => (error.id(), Tried::Unreadable(format!("the attempt failed: {error}"))),
        };
        let Some(mut running) = self.running.remove(&id) else { return };
        let now = self.now();
        match tried {
            Tried::Sent(sent) => {
                let verdict = judge(sent.answer.as_ref(), &self.destination, now);
                self.note_attempt(&running, &sent, &verdict);
                self.note_pace(&mut running, &sent, now);
                let wants_no_more = sent.answer.is_ok_and(|answer| answer.wants_no_more());
                let target = running.target;
                self.settle(running, verdict, now);
                if wants_no_more {
                    self.give_up(target, "the receiver asked for no more deliveries", now);
                }
            }
            Tried::Missing(missing) => {
                self.learned_nothing(running.target, now);
                if let Work::Delivery(delivery) = running.work {
                    self.bury_missing(delivery, &missing, now);
                }
            }
            Tried::Unreadable(reason) => {
                self.learned_nothing(running.target, now);
                self.put_back(running, &reason, now);
            }
        }
    }

    pub(crate) fn learned_nothing(&mut self, target: Target, now: Timestamp) {
        let destination = Arc::clone(&self.destination);
        self.health(target).breaker.learned_nothing(&destination.retry, now);
    }

    fn note_pace(&mut self, running: &mut Running, sent: &Sent, now: Timestamp) {
        // This one was among them, and is not any more.
        let in_flight = self.in_flight(running.target) + 1;
        let began = running.started_at;
        let Health { pace, throttle, .. } = self.health(running.target);
        match &sent.answer {
            Ok(answer) if answer.status == 429 => {
                running.is_old_news = throttle.refusals() != running.refusals_before;
                if !running.is_old_news {
                    throttle.refused(now);
                }
            }
            Ok(_) => throttle.answered(now),
            Err(_) => {}
        }
        match &sent.answer {
            Ok(answer) if matches!(answer.status, 429 | 503) => pace.overloaded(began, now),
            Ok(_) => pace.answered(began, sent.duration, in_flight),
            Err(error) if matches!(error.kind, SendErrorKind::Timeout(_)) => {
                pace.overloaded(began, now);
            }
            // A receiver that is not there is not slow.
            Err(_) => {}
        }
    }

    fn note_attempt(&mut self, running: &Running, sent: &Sent, verdict: &Verdict) {
        let Work::Delivery(delivery) = &running.work else { return };
        let by = match (running.target, delivery.is_thin) {
            (Target::Primary, false) => "",
            (Target::Primary, true) => " (without texts)",
            (Target::Backup, false) => " (backup)",
            (Target::Backup, true) => " (backup, without texts)",
        };
        let result = match verdict {
            Verdict::Delivered => format!("delivered{by}"),
            Verdict::DeliveredInPart { remark } => format!("delivered{by}; {remark}"),
            Verdict::Retry { reason, .. }
            | Verdict::GiveUp { reason }
            | Verdict::TooLarge { reason }
            | Verdict::Aborted { reason } => format!("{reason}{by}"),
            Verdict::Gone => format!("the receiver answered 410{by}"),
        };
        self.books.pending.attempts.push(Attempt {
            delivery: delivery.id.clone(),
            number: delivery.attempts.count() + 1,
            started_at: running.started_at,
            duration_ms: sent.duration_ms(),
            timings: sent.timings,
            address: sent.address.map(|address| address.to_string()),
            status: sent.answer.as_ref().ok().map(|answer| answer.status),
            answer_start: sent.answer.as_ref().map(answer_start).unwrap_or_default(),
            result,
            event_count: u32::try_from(delivery.events.len()).unwrap_or(u32::MAX),
            carried: Carried::of(&delivery.events),
        });
    }

    fn settle(&mut self, running: Running, verdict: Verdict, now: Timestamp) {
        match verdict {
            Verdict::Delivered => self.delivered(running, now),
            Verdict::DeliveredInPart { remark } => {
                // What the receiver did not take is lost there, and nobody else may say so.
                tracing::warn!(destination = %self.name(), remark, "A delivery was taken in part.");
                self.delivered(running, now);
            }
            Verdict::Retry { after, reason } => {
                if let Some(asked) = after {
                    let asked = asked.min(self.destination.retry.retry_after_max);
                    self.health(running.target).breaker.pause(now.plus(asked));
                }
                self.failed(running, Again::After(after.unwrap_or_default()), reason, now);
            }
            Verdict::GiveUp { reason } => self.failed(running, Again::Useless, reason, now),
            Verdict::TooLarge { reason } => self.too_large(running, reason, now),
            Verdict::Aborted { reason } => self.aborted(running, reason, now),
            Verdict::Gone => {
                let dice = fastrand::f64();
                let destination = Arc::clone(&self.destination);
                self.health(running.target).breaker.open(&destination.retry, now, dice);
                let mut running = running;
                self.taken_for_down(&mut running, "it wants no more deliveries");
                let reason = "the receiver answered 410".to_owned();
                self.failed(running, Again::After(Duration::ZERO), reason, now);
            }
        }
    }

    /// A receiver is not sent to any more. If it has a standby, the lane goes on with that one, and
    /// the receiver is only taken for down: its events must not stop with it.
    fn give_up(&mut self, target: Target, why: &str, now: Timestamp) {
        if target == Target::Primary && self.backup.is_some() {
            tracing::warn!(destination = %self.name(), why, "The backup takes over for good.");
            let destination = Arc::clone(&self.destination);
            return self.primary_health.breaker.open(&destination.retry, now, fastrand::f64());
        }
        self.disable(&self.target_name(target).clone(), why.to_owned(), now);
    }

    /// Stops sending to this destination or its backup until somebody resumes it. What is in flight
    /// settles; what is not settled then stays behind the cursor.
    fn disable(&mut self, name: &DestinationName, why: String, now: Timestamp) {
        tracing::error!(destination = %name, why, "The destination is disabled.");
        if *name == self.destination.name {
            self.ending = Some(Ending::Halt);
        }
        self.shared.roster.give_up(name, Disabled { why, since: now });
    }

    /// Gives a delivery up, and tells of it.
    fn push_letter(&mut self, letter: DeadLetter) {
        if let Some(note) = self.told.exhausted(&letter) {
            self.shared.roster.tell(note);
        }
        self.given_up += 1;
        self.books.pending.buried.push(letter);
    }

    /// In a bounded lane nothing may come after the last deliveries to show whose fault it was that
    /// they failed. If the receiver is not down, it is theirs.
    pub(crate) fn bury_the_last(&mut self) {
        let is_last = self.has_read_all() && self.holds_nothing() && !self.shelf.holds_up();
        if is_last && !self.primary_health.breaker.is_open() {
            let now = self.now();
            for waiting in self.shelf.passed() {
                let reason = waiting.reason.clone();
                self.bury_waiting(waiting, reason, now);
            }
        }
    }

    /// The receiver asked not to get this delivery again.
    fn aborted(&mut self, running: Running, reason: String, now: Timestamp) {
        self.learned_nothing(running.target, now);
        match running.work {
            Work::Delivery(mut delivery) => {
                self.shelf.count(&mut delivery.attempts);
                self.bury(delivery, reason, now);
            }
            Work::Piece(piece) => {
                let released = self.streams.given_up(piece);
                self.take_released(released);
            }
        }
    }

    /// A bounded lane may hold nothing but what its receiver never takes, and take that for an outage.
    /// What the destination's own lane delivers meanwhile shows that it is none, as another delivery
    /// of this lane would. Of a backup nobody knows which of the two took it.
    pub(crate) fn learn_from_its_destination(&mut self) {
        let Some(bounds) = self.bounds.as_ref().filter(|_| self.backup.is_none()) else { return };
        let own = self.shared.roster.view(&bounds.replay.destination);
        let delivered_at = own.and_then(|view| view.standing().delivered_at);
        if delivered_at > self.own_delivered_at {
            self.own_delivered_at = delivered_at;
            if self.primary_health.breaker.open_since() < delivered_at
                && self.primary_health.breaker.is_open()
            {
                self.receiver_took_one(Target::Primary, self.now());
            }
        }
    }

    fn delivered(&mut self, running: Running, now: Timestamp) {
        self.delivered_at = Some(now);
        self.delivered += 1;
        self.receiver_took_one(running.target, now);
        match running.work {
            Work::Delivery(delivery) => self.release(&delivery),
            Work::Piece(piece) => {
                for sequence in &piece.sequences {
                    self.window.release(*sequence);
                }
                let released = self.streams.sent(piece.call_id());
                self.take_released(released);
            }
        }
    }

    /// The receiver is up, and what is out of attempts is given up.
    fn receiver_took_one(&mut self, target: Target, now: Timestamp) {
        let most = self.health(target).pace.limit();
        if let Some(down_since) = self.health(target).breaker.succeeded(most) {
            self.taken_for_back(target, down_since, now);
        }
        self.failing_since = None;
        for waiting in self.shelf.passed() {
            let reason = waiting.reason.clone();
            self.bury_waiting(waiting, reason, now);
        }
    }

    /// The breaker has closed.
    fn taken_for_back(&mut self, target: Target, down_since: Timestamp, now: Timestamp) {
        tracing::info!(destination = %self.name(), ?target, "The receiver is back.");
        if now.since(down_since) >= WORTH_TELLING {
            let name = self.target_name(target).clone();
            self.shared.roster.tell(notes::recovered(&name, down_since, now));
        }
    }

    pub(crate) fn failed(
        &mut self,
        mut running: Running,
        again: Again,
        reason: String,
        now: Timestamp,
    ) {
        let (id, target) = (running.id(), running.target);
        tracing::debug!(
            destination = %self.name(), delivery.id = %id, ?target, reason, "An attempt failed."
        );
        let destination = Arc::clone(&self.destination);
        let policy = &destination.retry;
        let failing_since = *self.failing_since.get_or_insert(running.started_at);
        let is_refused_piece = matches!((&running.work, again), (Work::Piece(_), Again::Useless));
        if is_refused_piece {
            self.learned_nothing(running.target, now);
        } else if !running.is_old_news
            && self.health(running.target).breaker.failed(policy, now, fastrand::f64())
        {
            self.taken_for_down(&mut running, &reason);
        }
        let is_down = self.health(running.target).breaker.is_open();
        let failing_for = now.since(failing_since);
        if is_down && self.shared.config.disable_after.is_some_and(|after| failing_for >= after) {
            let why =
                format!("no delivery has succeeded since {failing_since}; the last: {reason}");
            self.disable(&self.destination.name.clone(), why, now);
        }
        let mut delivery = match running.work {
            Work::Delivery(delivery) => delivery,
            Work::Piece(mut piece) => {
                // What is refused, or takes too much room, is not worth another attempt: the outcome
                // has the text.
                let is_full = self.window.len() >= self.destination.queue_size
                    || self.streams.bytes() >= RENDERED_BYTES_MAX;
                // It waits without holding the cursor: a receiver may fail for pieces alone, and for as
                // long as a call streams.
                for sequence in piece.sequences.drain(..) {
                    self.window.release(sequence);
                }
                let released = if is_full || matches!(again, Again::Useless) {
                    self.streams.given_up(piece)
                } else {
                    self.streams.failed(piece, now.plus(policy.initial_delay))
                };
                return self.take_released(released);
            }
        };
        if self.destination.strict_order {
            if !delivery.is_parked && self.shelf.has_doomed() {
                // It was to show whether the receiver takes anything; it does not.
                self.shelf.pardon(policy.max_attempts, std::iter::empty());
                return self.queue.put_back(delivery);
            }
        } else if is_down {
            return self.keep(delivery, reason, now);
        }
        self.shelf.count(&mut delivery.attempts);
        let wait = match again {
            Again::After(asked) => {
                let number = delivery.attempts.count() + 1;
                wait_before(policy, number, fastrand::f64(), Some(asked))
            }
            Again::Useless => None,
        };
        let due_at = now.plus(wait.unwrap_or(policy.max_delay));
        self.wait_or_bury(delivery, due_at, reason, wait.is_none());
    }

    /// Another attempt is due then; unless it had its last one while others passed. One that is out of
    /// attempts, or `is_useless`, is buried once another passes.
    pub(crate) fn wait_or_bury(
        &mut self,
        delivery: Delivery,
        due_at: Timestamp,
        reason: String,
        is_useless: bool,
    ) {
        let max_attempts = self.destination.retry.max_attempts;
        if self.shelf.certain(delivery.attempts) >= max_attempts {
            return self.bury(delivery, reason, self.now());
        }
        let is_doomed = is_useless || delivery.attempts.is_doomed(max_attempts);
        self.park(delivery, due_at, reason, is_doomed);
    }

    /// The breaker has opened: what failed since the last success is no delivery's fault.
    fn taken_for_down(&mut self, running: &mut Running, reason: &str) {
        let target = running.target;
        tracing::warn!(destination = %self.name(), ?target, reason, "The receiver is down.");
        // Where order is strict nothing else may show whose fault it is until it has had its
        // attempts.
        if !self.destination.strict_order {
            let in_flight = self.running.values_mut().filter_map(Running::attempts_mut);
            let max_attempts = self.destination.retry.max_attempts;
            self.shelf.pardon(max_attempts, in_flight.chain(running.attempts_mut()));
        }
        let released = self.streams.give_up();
        self.take_released(released);
    }

    /// The receiver is down: the delivery waits with no attempt counted, and no row written unless it
    /// had one or is under suspicion. A batch goes in halves from now on: one event that never passes
    /// must not make the receiver look down for all that stand beside it, batch after batch.
    fn keep(&mut self, mut delivery: Delivery, reason: String, now: Timestamp) {
        self.shelf.count_outage(&mut delivery.attempts);
        let max_attempts = self.destination.retry.max_attempts;
        if self.shelf.certain(delivery.attempts) >= max_attempts {
            return self.bury(delivery, reason, now);
        }
        let is_doomed = delivery.attempts.is_doomed(max_attempts);
        delivery.probes = delivery.probes.saturating_add(1);
        let has_room = !delivery.is_parked || self.shelf.len() < self.destination.queue_size;
        if delivery.events.len() > 1 && has_room {
            self.go_in_halves(delivery, reason, now);
        } else if delivery.is_parked {
            let Delivery { id, events, attempts, is_thin, .. } = delivery;
            let waiting = Waiting { id, events, attempts, due_at: now, reason, is_thin };
            self.shelf.park(waiting, is_doomed);
        } else if is_doomed {
            self.park(delivery, now, reason, true);
        } else {
            self.queue.put_back(delivery);
        }
    }

    fn put_back(&mut self, running: Running, reason: &str, now: Timestamp) {
        tracing::error!(destination = %self.name(), reason, "A delivery could not be tried.");
        let again_at = now.plus(self.destination.retry.initial_delay);
        match running.work {
            Work::Delivery(delivery) => {
                self.wait_or_bury(delivery, again_at, reason.to_owned(), false);
            }
            Work::Piece(piece) => {
                let released = self.streams.failed(piece, again_at);
                self.take_released(released);
            }
        }
    }

    pub(crate) fn park(
        &mut self,
        delivery: Delivery,
        due_at: Timestamp,
        reason: String,
        doomed: bool,
    ) {
        if !delivery.is_parked {
            for event in &delivery.events {
                self.window.release(event.sequence);
            }
        }
        let Delivery { id, events, attempts, is_thin, .. } = delivery;
        let waiting = Waiting { id, events, attempts, due_at, reason, is_thin };
        self.books.pending.parked.push(self.shelf.row(&waiting));
        self.shelf.park(waiting, doomed);
    }

    /// A delivery is settled: its row goes, or the cursor may pass it.
    fn release(&mut self, delivery: &Delivery) {
        if delivery.is_parked {
            self.books.unpark(delivery.id.clone());
        } else {
            for event in &delivery.events {
                self.window.release(event.sequence);
            }
        }
    }

    fn bury(&mut self, delivery: Delivery, reason: String, now: Timestamp) {
        self.release(&delivery);
        let Delivery { id, events, attempts, .. } = delivery;
        self.push_letter(DeadLetter {
            destination: self.destination.name.clone(),
            id,
            events,
            attempts: attempts.count(),
            buried_at: now,
            reason,
        });
    }

    /// Some of what a parked delivery carries can no longer be made. The rest goes on without it.
    fn bury_missing(&mut self, mut delivery: Delivery, missing: &[EventRef], now: Timestamp) {
        let reason = "its records are gone, or the destination no longer asks for them".to_owned();
        delivery.events.retain(|event| !missing.contains(event));
        if delivery.events.is_empty() {
            delivery.events = missing.to_vec();
            return self.bury(delivery, reason, now);
        }
        if !delivery.is_parked {
            for event in missing {
                self.window.release(event.sequence);
            }
        }
        // Others may go missing of the same delivery later.
        let ids: Vec<_> = missing.iter().map(|event| &event.event).collect();
        self.push_letter(DeadLetter {
            destination: self.destination.name.clone(),
            id: DeliveryId::new(&format!("{}_missing", delivery_id(&ids))),
            events: missing.to_vec(),
            attempts: delivery.attempts.count(),
            buried_at: now,
            reason: reason.clone(),
        });
        self.park(delivery, now, reason, false);
    }

    /// A record cannot be read: its news is lost, and that stands in the dead letters.
    pub(crate) fn bury_corrupt(&mut self, sequence: Sequence, what: &str) {
        tracing::error!(destination = %self.name(), %sequence, what, "A record is corrupt.");
        let name = format!("record_{sequence}");
        self.push_letter(DeadLetter {
            destination: self.destination.name.clone(),
            id: DeliveryId::new(&name),
            events: vec![EventRef { sequence, event: EventId::from_stored(&name) }],
            attempts: 0,
            buried_at: self.now(),
            reason: format!("journal record {sequence} is corrupt: {what}"),
        });
        self.window.advance(sequence);
    }

    fn bury_waiting(&mut self, waiting: Waiting, reason: String, now: Timestamp) {
        tracing::warn!(
            destination = %self.name(), delivery.id = %waiting.id, reason,
            "A delivery is given up; `hookgate dead-letters` shows it."
        );
        self.bury(Delivery::of(waiting), reason, now);
    }

    pub(crate) fn take_released(&mut self, released: Released) {
        for sequence in released.sequences {
            self.window.release(sequence);
        }
        self.gather(released.outcome);
    }
}
