//! What can be done to lanes while they run, and seen of them.
//!
//! Changes the roster, and says so in the stores that survive a restart; `service` makes it so.
//! Destinations themselves are stored by whoever made them.

use std::sync::Arc;

use domain::{
    delivery::Timings,
    destination::Destination,
    id::{DeliveryId, DestinationName},
    record::Sequence,
    time::Timestamp,
};
use store::lanes::LanesError;
use webhook::{
    body::Body,
    request,
    verdict::{self, Verdict},
};

pub use crate::{
    preview::{Preview, PreviewError},
    roster::{BreakerStatus, Disabled},
};
use crate::{
    replay::{self, ReplayError},
    roster::Seen,
    send::SendLimits,
    service::Shared,
};

/// A handle to the lanes of a [`crate::Service`]. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    pub(crate) shared: Arc<Shared>,
}

/// Where a lane that is put begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// Now: what is appended from this moment on is owed.
    Head,
    /// Where the last lane of that name stopped; now, if there was none.
    Stored,
    /// Right behind this position. What lies after it is sent, also what was sent before.
    At(Sequence),
}

/// A destination, and how its lane stands.
#[derive(Debug, Clone)]
pub struct LaneStatus {
    /// The destination.
    pub destination: Arc<Destination>,
    /// Set while it is not sent to: an operator paused it, or it was given up.
    pub disabled: Option<Disabled>,
    /// Whether its receiver is taken for down.
    pub breaker: BreakerStatus,
    /// Everything up to here is settled.
    pub cursor: Sequence,
    /// Records of the journal behind the cursor, whatever it wants of them.
    pub lag: u64,
    /// Attempts that run.
    pub in_flight: usize,
    /// Deliveries that were read and are not delivered: those that gather, are due, or wait for
    /// their next attempt.
    pub waiting: usize,
    /// How many attempts may run at once as the receiver is now.
    pub concurrency: usize,
    /// When an attempt last succeeded, since the gateway started.
    pub delivered_at: Option<Timestamp>,
    /// When the first attempt failed after which none succeeded.
    pub failing_since: Option<Timestamp>,
}

/// What came of a request that is no delivery of a lane, such as a connection test.
#[derive(Debug, Clone)]
pub struct Tested {
    /// What a lane would conclude from it.
    pub verdict: Verdict,
    /// The receiver's status, if it answered.
    pub status: Option<u16>,
    /// The beginning of its answer's body, escaped.
    pub answer_start: String,
    /// Why there was no answer, in words.
    pub error: Option<String>,
    /// The address that was dialled, with its port, if a connection was made.
    pub address: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// Where those went.
    pub timings: Timings,
}

impl Control {
    /// Starts a lane, or replaces the one of that name. What the old one has in flight is settled
    /// first, for as long as the settle time-out lasts; what is not settled then is sent again. A
    /// paused destination stays paused.
    pub fn put(&self, destination: Destination, from: StartFrom) {
        let begin_at = match from {
            StartFrom::Head => Some(*self.shared.journal.head().borrow()),
            StartFrom::At(sequence) => Some(sequence),
            StartFrom::Stored => None,
        };
        let name = destination.name.clone();
        self.shared.roster.put(destination, begin_at, None);
        replay::renew(&self.shared, &name);
    }

    /// Returns once nothing is sent any more as a destination was before it was last put, nor passed
    /// over: within the settle time-out.
    pub async fn taken_up(&self, name: &DestinationName) {
        self.shared.roster.taken_up(name).await;
    }

    /// Stops a lane and forgets all that is stored of it: its cursor, what waits, dead letters,
    /// attempts, the switch, and its replays. Returns once that is done. A destination that is not
    /// there any more is forgotten, too.
    pub async fn remove(&self, name: &DestinationName) -> Result<(), ReplayError> {
        self.remove_lane(name).await?;
        for (id, of) in self.replay_lanes().await? {
            if of == *name {
                self.remove_replay(id.as_str()).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn remove_lane(&self, name: &DestinationName) -> Result<(), LanesError> {
        let shared = &self.shared;
        let has_lane = shared.roster.remove(name);
        shared.roster.gone(name).await;
        if has_lane && shared.roster.is_served() {
            return Ok(());
        }
        shared.forget(name).await
    }

    /// Stops sending to a destination until it is resumed, also after a restart. Returns once what
    /// was in flight has settled.
    pub async fn pause(&self, name: &DestinationName, why: &str) {
        let since = self.shared.clock.now();
        {
            let _turn = self.shared.switching.lock().await;
            self.shared.roster.disable(name, Disabled { why: why.to_owned(), since });
            self.shared.store_switch(name, Some(why.to_owned())).await;
        }
        self.shared.roster.paused(name).await;
    }

    /// Sends to a destination again, from where it stopped.
    pub async fn resume(&self, name: &DestinationName) {
        let _turn = self.shared.switching.lock().await;
        self.shared.store_switch(name, None).await;
        self.shared.roster.enable(name, self.shared.clock.now());
    }

    /// All destinations that have a lane, by name.
    pub fn destinations(&self) -> Vec<LaneStatus> {
        self.shared.roster.seen().into_iter().map(|seen| self.status(seen)).collect()
    }

    /// One of them.
    pub fn get(&self, name: &DestinationName) -> Option<LaneStatus> {
        Some(self.status(self.shared.roster.seen_one(name)?))
    }

    /// Sends one body through the same guarded client, signed as a delivery would be and with these
    /// headers beside the destination's own. Nothing of it is stored, retried or counted.
    pub async fn send_once(
        &self,
        destination: &Destination,
        id: &DeliveryId,
        content_type: &str,
        body: Body,
        headers: &[(String, String)],
    ) -> Tested {
        let now = self.shared.clock.now();
        let mut request = request::build(destination, id, content_type, body, now);
        let own = headers.iter().map(|(name, value)| (name.clone().into(), value.clone()));
        request.headers.extend(own);
        let mut sent = self.shared.sender.send(request, SendLimits::of(destination)).await;
        if let Ok(answer) = &mut sent.answer {
            answer.hide_secrets(destination);
        }
        let now = self.shared.clock.now();
        let answer = sent.answer.as_ref();
        Tested {
            verdict: verdict::judge(answer, destination, now),
            status: answer.ok().map(|answer| answer.status),
            answer_start: answer.map(verdict::answer_start).unwrap_or_default(),
            error: answer.err().map(|error| error.message.clone()),
            address: sent.address.map(|address| address.to_string()),
            duration_ms: sent.duration_ms(),
            timings: sent.timings,
        }
    }

    /// The newest event that the destination would get, as a request that is not sent. `None` if
    /// there is none among the newest records.
    pub async fn preview(
        &self,
        destination: &Destination,
    ) -> Result<Option<Preview>, PreviewError> {
        crate::preview::preview(&self.shared, destination).await
    }

    /// Whether any destination that is sent to wants streaming events.
    pub fn wants_pieces(&self) -> bool {
        self.shared.roster.wants_pieces()
    }

    /// Sends dead letters of a lane again, at once and with no attempt counted: those named, or all.
    /// Returns how many: no more than may wait. A replay that has ended is taken up again for its own.
    pub async fn retry(
        &self,
        name: &DestinationName,
        ids: Option<&[DeliveryId]>,
    ) -> Result<usize, LanesError> {
        let revived = self.shared.lanes.revive(name, ids).await?;
        replay::take_up(&self.shared, name).await?;
        self.woken(name);
        Ok(revived)
    }

    /// Tells a lane that its parked deliveries changed, or came due by a clock that jumped.
    pub fn woken(&self, name: &DestinationName) {
        if let Some(view) = self.shared.roster.view(name) {
            view.reload.notify_one();
        }
    }

    fn status(&self, seen: Seen) -> LaneStatus {
        let head = *self.shared.journal.head().borrow();
        let Seen { destination, disabled, standing } = seen;
        LaneStatus {
            destination,
            disabled,
            breaker: standing.breaker,
            cursor: standing.cursor,
            lag: head.0.saturating_sub(standing.cursor.0),
            in_flight: standing.in_flight,
            waiting: standing.waiting,
            concurrency: standing.concurrency,
            delivered_at: standing.delivered_at,
            failing_since: standing.failing_since,
        }
    }
}
