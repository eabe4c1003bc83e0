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
use store::{journal::ReadError, lanes::LanesError};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    books::Books,
    breaker::Breaker,
    reading::Gathering,
    sending::{Queue, Running, Target, Tried},
    service::Shared,
    shelf::{Attempts, Shelf, Waiting},
    streaming::Streams,
    window::Window,
};

/// The longest that a lane waits without looking at the clock.
const IDLE_MAX: Duration = Duration::from_mins(1);

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

/// One destination's worker.
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) destination: Arc<Destination>,
    pub(crate) backup: Option<Arc<Destination>>,
    pub(crate) window: Window,
    pub(crate) gathering: Gathering,
    pub(crate) queue: Queue,
    pub(crate) streams: Streams,
    pub(crate) shelf: Shelf,
    /// Events after the cursor that were parked in an earlier run: their rows have them.
    pub(crate) parked_before: HashSet<EventId>,
    pub(crate) attempts: JoinSet<Tried>,
    pub(crate) running: HashMap<tokio::task::Id, Running>,
    pub(crate) primary_breaker: Breaker,
    pub(crate) backup_breaker: Breaker,
    /// Not before this, by the destination's own rate limit.
    pub(crate) next_send_at: Timestamp,
    pub(crate) probe_parked_next: bool,
    pub(crate) books: Books,
    pub(crate) head: watch::Receiver<Sequence>,
    /// A lane that batches reads on from then.
    pub(crate) rest_until: Timestamp,
    /// Everything up to the head was read.
    pub(crate) at_head: bool,
    pub(crate) stopping: bool,
}

impl Lane {
    /// Continues where the lane's last run left off.
    pub(crate) async fn open(
        shared: Arc<Shared>,
        destination: Arc<Destination>,
    ) -> Result<Self, LaneError> {
        let name = &destination.name;
        let head = shared.journal.head();
        let stored = shared.lanes.cursor(name).await?;
        let mut cursor = stored.unwrap_or(*head.borrow());
        let oldest = shared.journal.oldest();
        if cursor.next() < oldest {
            let records = oldest.0 - cursor.0 - 1;
            tracing::warn!(destination = %name, records, "Retention deleted records unread.");
            cursor = Sequence(oldest.0 - 1);
        }
        let mut lane = Self {
            backup: destination.backup.as_deref().cloned().map(Arc::new),
            window: Window::new(cursor),
            gathering: Gathering::default(),
            queue: Queue::default(),
            streams: Streams::default(),
            shelf: Shelf::default(),
            parked_before: HashSet::new(),
            attempts: JoinSet::new(),
            running: HashMap::new(),
            primary_breaker: Breaker::default(),
            backup_breaker: Breaker::default(),
            next_send_at: Timestamp::default(),
            probe_parked_next: false,
            books: Books::new(stored.unwrap_or_default()),
            head,
            rest_until: Timestamp::default(),
            at_head: false,
            stopping: false,
            shared,
            destination,
        };
        lane.reload_parked().await?;
        let parked = lane.shelf.events().filter(|event| event.sequence > cursor);
        lane.parked_before = parked.map(|event| event.event.clone()).collect();
        Ok(lane)
    }

    pub(crate) fn name(&self) -> &DestinationName {
        &self.destination.name
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Runs until `stop`; then sends what it holds until the settle time-out. What is not settled by
    /// then stays behind the cursor, and the next start reads it again.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), LaneError> {
        let mut changed = self.shared.lanes.changed();
        let mut give_up_at = None;
        loop {
            self.fill().await?;
            self.launch();
            self.begin_settling();
            if self.stopping && self.has_sent_what_it_can() {
                break;
            }
            let idle = tokio::time::sleep(self.idle_for());
            let too_late = async {
                match give_up_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // Only waits in here: the branches that lose leave nothing half done.
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.stopping => {
                    self.stopping = true;
                    let settle_timeout = self.shared.config.settle_timeout;
                    give_up_at = Some(tokio::time::Instant::now() + settle_timeout);
                }
                () = too_late => break,
                Some(ended) = self.attempts.join_next_with_id() => self.ended(ended),
                settled = self.books.settled() => self.note_settled(settled),
                Ok(()) = self.head.changed(), if self.at_head => {}
                Ok(()) = changed.changed() => self.reload_parked().await?,
                () = idle => {}
            }
        }
        self.close().await
    }

    /// Parked deliveries as stored, among them dead letters that someone revived.
    async fn reload_parked(&mut self) -> Result<(), LaneError> {
        let parked = self.shared.lanes.parked(&self.destination.name).await?;
        for row in parked {
            let in_flight = self.running.values().any(|running| running.is(&row.id));
            if in_flight || self.shelf.holds(&row.id) || self.books.has_settled(&row.id) {
                continue;
            }
            let waiting = Waiting {
                id: row.id,
                events: row.events,
                attempts: Attempts::stored(row.attempts),
                due_at: row.due_at,
                reason: row.reason,
            };
            self.shelf.park(waiting, false);
        }
        Ok(())
    }

    fn has_sent_what_it_can(&self) -> bool {
        let idle = self.attempts.is_empty();
        let nothing_left = self.at_head
            && self.queue.len() == 0
            && self.gathering.is_empty()
            && self.streams.is_idle();
        idle && (nothing_left || self.is_down())
    }

    /// Whether nothing but probes may be sent: the receiver is down, and so is its backup, if any.
    pub(crate) fn is_down(&self) -> bool {
        self.primary_breaker.is_open() && (self.backup.is_none() || self.backup_breaker.is_open())
    }

    pub(crate) fn breaker(&mut self, target: Target) -> &mut Breaker {
        match target {
            Target::Primary => &mut self.primary_breaker,
            Target::Backup => &mut self.backup_breaker,
        }
    }

    /// How long nothing is to be done unless something happens. Times that have passed do not
    /// count: what is due and not running waits for room, and room comes with an event.
    fn idle_for(&self) -> Duration {
        let now = self.now();
        let times = [
            self.gathering.flush_at(),
            self.shelf.due_at(),
            self.streams.due_at(),
            Some(self.primary_breaker.room_at()),
            Some(self.backup_breaker.room_at()),
            Some(self.next_send_at),
            Some(self.rest_until),
            self.books.settle_at(self.window.cursor()),
        ];
        let next = times.into_iter().flatten().filter(|time| *time > now).min();
        next.map_or(IDLE_MAX, |next| next.since(now)).min(IDLE_MAX)
    }

    async fn close(mut self) -> Result<(), LaneError> {
        let left = self.attempts.len() + self.queue.len();
        if left > 0 || !self.gathering.is_empty() {
            tracing::warn!(
                destination = %self.name(),
                deliveries = left,
                cursor = %self.window.cursor(),
                "Deliveries were not settled in time; the next start sends them."
            );
        }
        self.attempts.shutdown().await;
        self.settle_all().await
    }
}
