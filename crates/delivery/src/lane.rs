//! A lane: what works off one destination's deliveries.
//!
//! `reading` turns journal entries into deliveries, `sending` picks and starts attempts, `settling`
//! records what became of them. `webhook::schedule` decides when to try, `webhook::verdict` what an
//! answer means, `breaker` whether the receiver is down.
//!
//! Invariant: the cursor never passes an entry that is neither delivered, parked, buried nor
//! unwanted. A send may happen twice, under the same event id.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use domain::{
    destination::Destination,
    id::{DestinationName, EventId},
    record::Sequence,
    time::Timestamp,
};
use store::{
    journal::ReadError,
    lanes::{DeliveryQuery, DeliveryState, LanesError, Settlement},
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    books::Books,
    health::Health,
    notes::Telling,
    reading::Gathering,
    roster::{Bounds, BreakerStatus, Standing, Start, View},
    sending::{Queue, Running, Target, Tried, Work},
    service::Shared,
    shelf::{Attempts, Shelf, Waiting},
    streaming::Streams,
    window::Window,
};

/// The longest that a lane waits without looking at the clock.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// Waiting deliveries that are looked at for when an outage began.
const FAILING_LOOKED_AT: usize = 20;

/// Why a lane ended. Nothing is lost: the next start reads again from the stored cursor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    /// The journal could not be read.
    #[error("could not read the journal")]
    Read(#[from] ReadError),
    /// What became of deliveries could not be stored.
    #[error("could not store what became of deliveries")]
    Lanes(#[from] LanesError),
}

/// What ends a lane. Both leave what is not settled to the next start.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// The gateway stops: send what there is, within the settle time-out.
    pub(crate) drain: CancellationToken,
    /// This lane is paused, replaced or removed: begin nothing more, settle what is in flight.
    pub(crate) halt: CancellationToken,
}

impl Stop {
    /// Returns once either is asked for.
    pub(crate) async fn either(&self) {
        tokio::select! {
            biased;
            () = self.drain.cancelled() => {}
            () = self.halt.cancelled() => {}
        }
    }
}

/// How a lane ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It sends what there is.
    Drain,
    /// It reads and begins nothing any more.
    Halt,
}

/// One destination's worker.
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) destination: Arc<Destination>,
    pub(crate) backup: Option<Arc<Destination>>,
    pub(crate) bounds: Option<Bounds>,
    pub(crate) window: Window,
    pub(crate) gathering: Gathering,
    pub(crate) queue: Queue,
    pub(crate) streams: Streams,
    pub(crate) shelf: Shelf,
    /// Events that are parked or buried while their records are yet to be read: rows have them.
    pub(crate) parked_before: HashSet<EventId>,
    pub(crate) attempts: JoinSet<Tried>,
    pub(crate) running: HashMap<tokio::task::Id, Running>,
    pub(crate) primary_health: Health,
    pub(crate) backup_health: Health,
    /// Not before this, by the destination's own rate limit.
    pub(crate) next_send_at: Timestamp,
    pub(crate) probe_parked_next: bool,
    pub(crate) books: Books,
    pub(crate) told: Telling,
    pub(crate) head: watch::Receiver<Sequence>,
    /// Another process may have changed what is parked.
    changed: watch::Receiver<u64>,
    /// A lane that batches reads on from then.
    pub(crate) rest_until: Timestamp,
    /// Everything up to the head was read.
    pub(crate) at_head: bool,
    /// How it is to end, once it is.
    pub(crate) ending: Option<Ending>,
    pub(crate) view: Arc<View>,
    pub(crate) delivered_at: Option<Timestamp>,
    /// Of a bounded lane: when its destination's own lane last delivered, as far as it looked.
    pub(crate) own_delivered_at: Option<Timestamp>,
    pub(crate) delivered: u64,
    pub(crate) given_up: u64,
    /// When the first attempt failed since the last success.
    pub(crate) failing_since: Option<Timestamp>,
}

impl Lane {
    /// Continues where the lane's last run left off, or begins where it is told to.
    pub(crate) async fn open(shared: Arc<Shared>, start: Start) -> Result<Self, LaneError> {
        let Start { destination, bounds, begin_at, without_backup, resumed_at, view, .. } = start;
        let name = &destination.name;
        // Before anything is read: no change may come in between.
        let (head, changed) = (shared.journal.head(), shared.lanes.changed());
        let mut stored = shared.lanes.cursor(name).await?;
        let first = stored.is_none().then(|| *head.borrow());
        if let Some(cursor) = begin_at.or(first) {
            let settlement = Settlement { cursor: Some(cursor), ..Settlement::default() };
            shared.lanes.settle(name, settlement).await?;
            stored = Some(cursor);
        }
        let mut cursor = stored.unwrap_or_default();
        let oldest = shared.journal.oldest();
        if cursor.next() < oldest {
            let records = oldest.0 - cursor.0 - 1;
            tracing::warn!(destination = %name, records, "Retention deleted records unread.");
            cursor = Sequence(oldest.0 - 1);
        }
        let most = if destination.strict_order { 1 } else { destination.concurrent_deliveries };
        let mut lane = Self {
            backup: destination
                .backup
                .as_deref()
                .filter(|_| !without_backup)
                .cloned()
                .map(Arc::new),
            bounds,
            window: Window::new(cursor),
            gathering: Gathering::default(),
            queue: Queue::default(),
            streams: Streams::default(),
            shelf: Shelf::default(),
            parked_before: HashSet::new(),
            attempts: JoinSet::new(),
            running: HashMap::new(),
            primary_health: Health::new(most),
            backup_health: Health::new(most),
            next_send_at: Timestamp::default(),
            probe_parked_next: false,
            books: Books::new(stored.unwrap_or_default()),
            told: Telling::default(),
            head,
            changed,
            rest_until: Timestamp::default(),
            at_head: false,
            ending: None,
            view,
            delivered_at: None,
            own_delivered_at: None,
            delivered: 0,
            given_up: 0,
            failing_since: None,
            shared,
            destination,
        };
        lane.reload_parked().await?;
        lane.failing_since = failing_since(&lane.shared, lane.name(), resumed_at).await?;
        for dead in lane.shared.lanes.dead_after(lane.name(), cursor).await? {
            lane.pass_over(dead);
        }
        Ok(lane)
    }

    pub(crate) fn name(&self) -> &DestinationName {
        &self.destination.name
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Runs until `stop`. What is in flight at the settle time-out, or when the lane fails, waits in a
    /// row then; what is not begun stays behind the cursor, and the next start reads it again.
    pub(crate) async fn run(mut self, stop: Stop) -> Result<(), LaneError> {
        let ended = self.work(stop).await;
        self.close().await.and(ended)
    }

    async fn work(&mut self, stop: Stop) -> Result<(), LaneError> {
        let settle_timeout = self.shared.config.settle_timeout;
        let view = Arc::clone(&self.view);
        let (mut give_up_at, mut is_halted) = (None, false);
        loop {
            let looked_at = self.now();
            self.fill().await?;
            // What came back while it read may forbid what would be sent now.
            while let Some(ended) = self.attempts.try_join_next_with_id() {
                self.ended(ended);
            }
            self.launch();
            self.begin_settling();
            self.publish();
            self.learn_from_its_destination();
            self.bury_the_last();
            if self.is_done() || self.is_at_its_end() {
                break;
            }
            let idle = tokio::time::sleep(self.idle_for(looked_at));
            let too_late = async {
                match give_up_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // Only waits in here: the branches that lose leave nothing half done.
            tokio::select! {
                biased;
                () = stop.halt.cancelled(), if !is_halted => {
                    is_halted = true;
                    self.ending = Some(Ending::Halt);
                    give_up_at.get_or_insert(tokio::time::Instant::now() + settle_timeout);
                }
                () = stop.drain.cancelled(), if self.ending.is_none() => {
                    self.ending = Some(Ending::Drain);
                    give_up_at.get_or_insert(tokio::time::Instant::now() + settle_timeout);
                }
                () = too_late => break,
                Some(ended) = self.attempts.join_next_with_id() => self.ended(ended),
                settled = self.books.settled() => self.note_settled(settled),
                Ok(()) = self.head.changed(), if self.at_head => {}
                Ok(()) = self.changed.changed() => self.reload_parked().await?,
                () = view.reload.notified() => self.reload_parked().await?,
                () = idle => {}
            }
        }
        Ok(())
    }

    /// Parked deliveries as stored, among them dead letters that someone revived.
    async fn reload_parked(&mut self) -> Result<(), LaneError> {
        let parked = self.shared.lanes.parked(&self.destination.name).await?;
        for row in parked {
            let in_flight = self.running.values().any(|running| running.is(&row.id));
            if in_flight || self.shelf.holds(&row.id) || self.books.has_settled(&row.id) {
                continue;
            }
            let read = self.window.read();
            for unread in row.events.iter().filter(|event| event.sequence > read) {
                self.pass_over(unread.event.clone());
            }
            let waiting = Waiting {
                id: row.id,
                events: row.events,
                attempts: Attempts::stored(row.attempts),
                due_at: row.due_at,
                reason: row.reason,
                is_thin: false,
            };
            self.shelf.park(waiting, false);
        }
        Ok(())
    }

    /// An event has a row, though its record is yet to be read.
    fn pass_over(&mut self, event: EventId) {
        if let Some(call) = event.call_id() {
            self.streams.pass_over(call);
        }
        self.parked_before.insert(event);
    }

    /// Whether everything is read that a bounded lane may read.
    pub(crate) fn has_read_all(&self) -> bool {
        self.bounds.as_ref().is_some_and(|bounds| self.window.read() >= bounds.replay.to)
    }

    /// Whether nothing is left of a bounded lane's range.
    fn is_at_its_end(&self) -> bool {
        self.has_read_all() && self.holds_nothing() && self.shelf.len() == 0
    }

    /// Whether nothing is gathered, due or in flight; parked deliveries not counted.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.attempts.is_empty()
            && self.queue.len() == 0
            && self.gathering.is_empty()
            && self.streams.is_idle()
    }

    /// Whether there is nothing left to wait for.
    fn is_done(&self) -> bool {
        let idle = self.attempts.is_empty();
        match self.ending {
            None => return false,
            Some(Ending::Halt) => return idle,
            Some(Ending::Drain) => {}
        }
        let nothing_left = self.at_head && self.holds_nothing();
        idle && (nothing_left || self.is_down())
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.ending == Some(Ending::Drain)
    }

    /// Says how it stands to whoever looks.
    fn publish(&self) {
        let breaker = &self.primary_health.breaker;
        let breaker = match breaker.open_since() {
            Some(since) => BreakerStatus::Open { since, probe_at: breaker.room_at() },
            None => BreakerStatus::Closed,
        };
        self.view.publish(Standing {
            cursor: self.window.cursor(),
            in_flight: self.attempts.len(),
            waiting: self.queue.len() + self.shelf.len() + usize::from(!self.gathering.is_empty()),
            concurrency: self.primary_health.room(self.now()),
            breaker,
            delivered_at: self.delivered_at,
            failing_since: self.failing_since,
            delivered: self.delivered,
            given_up: self.given_up,
            is_finished: false,
        });
    }

    /// Whether nothing but probes may be sent: the receiver is down, and so is its backup, if any.
    pub(crate) fn is_down(&self) -> bool {
        self.primary_health.breaker.is_open()
            && (self.backup.is_none() || self.backup_health.breaker.is_open())
    }

    pub(crate) fn health(&mut self, target: Target) -> &mut Health {
        match target {
            Target::Primary => &mut self.primary_health,
            Target::Backup => &mut self.backup_health,
        }
    }

    /// The destination that attempts to the target are of.
    pub(crate) fn target_name(&self, target: Target) -> &DestinationName {
        match (target, &self.backup) {
            (Target::Backup, Some(backup)) => &backup.name,
            _ => &self.destination.name,
        }
    }

    /// How long nothing is to be done unless something happens.
    fn idle_for(&self, looked_at: Timestamp) -> Duration {
        let now = self.now();
        let times = [
            self.gathering.flush_at(),
            self.shelf.due_at(),
            self.destination.strict_order.then(|| self.shelf.due_in_order()).flatten(),
            self.streams.due_at(),
            Some(self.primary_health.breaker.room_at()),
            Some(self.backup_health.breaker.room_at()),
            Some(self.primary_health.throttle.room_at(now)),
            Some(self.backup_health.throttle.room_at(now)),
            Some(self.next_send_at),
            Some(self.rest_until),
        ];
        let wait = wake_in(times.into_iter().flatten(), looked_at, now);
        let settle_in = self.books.due_in(self.window.cursor());
        settle_in.map_or(wait, |settle_in| wait.min(settle_in))
    }

    async fn close(mut self) -> Result<(), LaneError> {
        let left = self.attempts.len() + self.queue.len();
        if self.is_draining() && (left > 0 || !self.gathering.is_empty()) {
            tracing::warn!(
                destination = %self.name(),
                deliveries = left,
                cursor = %self.window.cursor(),
                "Deliveries were not settled in time; the next start sends them."
            );
        }
        let is_finished = self.is_at_its_end();
        self.cut_off().await;
        self.settle_all().await?;
        self.publish();
        if is_finished {
            self.view.publish(Standing { is_finished, ..self.view.standing() });
        }
        Ok(())
    }

    /// Ends what is in flight. It waits in a row from now on: behind it the cursor would stay, and all
    /// that was delivered meanwhile would come again.
    async fn cut_off(&mut self) {
        self.attempts.abort_all();
        while let Some(ended) = self.attempts.join_next_with_id().await {
            match ended {
                Err(error) if error.is_cancelled() => self.park_cut_off(error.id()),
                ended => self.ended(ended),
            }
        }
    }

    fn park_cut_off(&mut self, id: tokio::task::Id) {
        let Some(running) = self.running.remove(&id) else { return };
        if let Work::Delivery(delivery) = running.work {
            let reason = "its lane was stopped before the receiver answered".to_owned();
            self.wait_or_bury(delivery, self.now(), reason, false);
        }
    }
}

/// How long until the first of these times. Those that had passed when the lane last looked do not
/// count: what is due and not running waits for room, and room comes with an event. Those that have
/// passed since do: nothing else may come.
fn wake_in(
    times: impl Iterator<Item = Timestamp>,
    looked_at: Timestamp,
    now: Timestamp,
) -> Duration {
    let next = times.filter(|time| *time > looked_at).min();
    next.map_or(IDLE_MAX, |next| next.since(now)).min(IDLE_MAX)
}

/// Since when no attempt succeeded, as far as the attempts that are kept for people tell: a restart
/// must not make an outage young again, nor count what failed before somebody resumed it. Later than
/// the truth at worst.
async fn failing_since(
    shared: &Shared,
    name: &DestinationName,
    resumed_at: Option<Timestamp>,
) -> Result<Option<Timestamp>, LanesError> {
    let newest = |state, since, limit| {
        let lanes = vec![name.clone()];
        let query = DeliveryQuery { lanes, state, since, limit, ..DeliveryQuery::default() };
        shared.lanes.deliveries(query)
    };
    let last = newest(None, None, 1).await?;
    if last.first().is_none_or(|row| row.state == DeliveryState::Delivered) {
        return Ok(None);
    }
    let delivered = newest(Some(DeliveryState::Delivered), None, 1).await?;
    let delivered_at = delivered.first().and_then(|row| row.last.as_ref()).map(|a| a.started_at);
    let counted_from = delivered_at.max(resumed_at);
    let mut since = None;
    for row in newest(Some(DeliveryState::Waiting), counted_from, FAILING_LOOKED_AT).await? {
        let detail = shared.lanes.delivery(name, &row.id).await?;
        let attempts = detail.into_iter().flat_map(|detail| detail.attempts);
        let failed =
            attempts.map(|attempt| attempt.started_at).filter(|at| Some(*at) > counted_from);
        since = failed.chain(since).min();
    }
    Ok(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_passed_since_the_lane_looked_is_not_missed() {
        let at = Timestamp::from_millis;
        let wake = |times: &[i64]| wake_in(times.iter().copied().map(at), at(10), at(12));
        assert_eq!(wake(&[]), IDLE_MAX);
        assert_eq!(wake(&[9, 10]), IDLE_MAX, "what was due then waits for room");
        assert_eq!(wake(&[11, 15]), Duration::ZERO);
        assert_eq!(wake(&[15, 20]), Duration::from_millis(3));
    }
}
