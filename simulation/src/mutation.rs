//! Mistakes made on purpose, each between delivery and the world: as if delivery did not keep a
//! promise. A test sees each of them found.

use std::sync::Arc;

use bytes::Bytes;
use delivery::config::Config;
use domain::{
    delivery::{DeadLetter, Parked},
    destination::Destination,
    event::EventType,
    id::{DeliveryId, DestinationName, EventId},
    record::Sequence,
    time::Timestamp,
};
use store::{
    journal::BoxFuture,
    lanes::{DeliveryDetail, DeliveryQuery, DeliveryRow, Lanes, LanesError, Settlement},
};
use tokio::sync::watch;
use webhook::{
    request::Request,
    verdict::{Answer, SendError},
};

use crate::{engine::disk::Disk, oracle::Rule};

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The cursor is stored one too far.
    CursorRunsAhead,
    /// Parked deliveries are not stored.
    ForgetsParked,
    /// Dead letters are not stored.
    ForgetsDead,
    /// Parked rows come back as due at once.
    ForgetsDueTimes,
    /// `Retry-After` is not honoured.
    IgnoresRetryAfter,
    /// There is no rate limit.
    IgnoresRate,
    /// Attempts have no end.
    IgnoresMaxAttempts,
    /// Twice as many attempts run as may.
    IgnoresConcurrency,
    /// A lane reads ahead without end.
    IgnoresQueueSize,
    /// Order does not matter.
    IgnoresOrder,
    /// Each attempt has another id.
    ChangesIds,
    /// Each attempt has another body.
    ChangesBodies,
    /// Each attempt is made twice.
    SendsTwice,
    /// Pieces of streams are sent somewhat later than they say.
    HoldsPieces,
    /// Pausing does nothing.
    IgnoresPause,
    /// Some events are not wanted any more.
    WantsLess,
    /// Events are sent that nobody asked for.
    WantsMore,
    /// A receiver that wants no more gets more.
    IgnoresGone,
    /// Whatever a receiver answers is taken for a success.
    TrustsAnyAnswer,
    /// What was acknowledged is sent once more.
    SendsOnceMore,
    /// The backup gets ids of its own.
    BackupHasOwnIds,
    /// Parked rows come back as never due.
    ForgetsToRetry,
    /// Dead letters do not outlive the gateway.
    LosesLetters,
    /// A stop takes longer than it may.
    StopsSlowly,
    /// A lane panics where two deliveries are parked at once.
    Panics,
    /// However long nothing is stored, attempts go on.
    IgnoresStore,
}

impl Mutation {
    /// All of them, and the rules of which one must find it.
    pub const ALL: [(Self, &'static [Rule]); 26] = [
        (Self::CursorRunsAhead, &[Rule::CursorPassed]),
        (Self::ForgetsParked, &[Rule::CursorPassed]),
        (Self::ForgetsDead, &[Rule::Lost, Rule::CursorPassed]),
        (Self::ForgetsDueTimes, &[Rule::TooEarly]),
        (Self::IgnoresRetryAfter, &[Rule::TooEarly]),
        (Self::IgnoresRate, &[Rule::TooFast]),
        (Self::IgnoresMaxAttempts, &[Rule::TooOften]),
        (Self::IgnoresConcurrency, &[Rule::TooMany]),
        (Self::IgnoresQueueSize, &[Rule::Unbounded]),
        (Self::IgnoresOrder, &[Rule::Disordered]),
        (Self::ChangesIds, &[Rule::Unstable]),
        (Self::ChangesBodies, &[Rule::Unstable]),
        (Self::SendsTwice, &[Rule::TooMany]),
        (Self::HoldsPieces, &[Rule::PieceOverlaps]),
        (Self::IgnoresPause, &[Rule::SentWhilePaused]),
        (Self::WantsLess, &[Rule::CursorPassed]),
        (Self::WantsMore, &[Rule::Unasked]),
        (Self::IgnoresGone, &[Rule::SentWhilePaused]),
        (Self::TrustsAnyAnswer, &[Rule::CursorPassed]),
        (Self::SendsOnceMore, &[Rule::SentAgain]),
        (Self::BackupHasOwnIds, &[Rule::Unstable]),
        (Self::ForgetsToRetry, &[Rule::Stuck]),
        (Self::LosesLetters, &[Rule::Lost]),
        (Self::StopsSlowly, &[Rule::SlowStop]),
        (Self::Panics, &[Rule::Panicked]),
        (Self::IgnoresStore, &[Rule::Unstored]),
    ];

    /// The destination as delivery gets it.
    pub(crate) fn destination(this: Option<Self>, asked: &Destination) -> Destination {
        let mut got = asked.clone();
        match this {
            Some(Self::IgnoresRetryAfter) => {
                got.retry.retry_after_max = std::time::Duration::ZERO;
            }
            Some(Self::IgnoresRate) => got.rate_limit = None,
            Some(Self::IgnoresMaxAttempts) => got.retry.max_attempts = u32::MAX,
            Some(Self::IgnoresConcurrency) => got.concurrent_deliveries *= 2,
            Some(Self::IgnoresQueueSize) => got.queue_size = usize::MAX,
            Some(Self::IgnoresOrder) => got.strict_order = false,
            Some(Self::WantsLess) => drop(got.event_types.pop()),
            Some(Self::WantsMore) => got.event_types = EventType::ALL.to_vec(),
            _ => {}
        }
        got
    }

    /// How lanes work, as delivery is told.
    pub(crate) fn config(this: Option<Self>, mut asked: Config) -> Config {
        match this {
            Some(Self::StopsSlowly) => asked.settle_timeout *= 100,
            Some(Self::IgnoresStore) => asked.unstored_max = usize::MAX,
            _ => {}
        }
        asked
    }

    /// What a new life of the gateway finds.
    pub(crate) fn disk(this: Option<Self>, disk: &mut Disk) {
        if this == Some(Self::LosesLetters) {
            disk.lanes.values_mut().for_each(|rows| rows.dead.clear());
        }
    }

    /// What the sender says of an attempt.
    pub(crate) fn answer(
        this: Option<Self>,
        mut answer: Result<Answer, SendError>,
    ) -> Result<Answer, SendError> {
        match (this, &mut answer) {
            (Some(Self::IgnoresGone), Ok(answer)) => {
                answer.control = None;
                answer.status = if answer.status == 410 { 503 } else { answer.status };
                Ok(answer.clone())
            }
            (Some(Self::TrustsAnyAnswer), _) => Ok(Answer { status: 200, ..Answer::default() }),
            _ => answer,
        }
    }

    /// The request as it leaves.
    pub(crate) fn request(this: Option<Self>, mut request: Request) -> Request {
        match this {
            Some(Self::ChangesIds) => change_id(&mut request, fastrand::u8(..)),
            Some(Self::BackupHasOwnIds) if request.url.contains("backup.") => {
                change_id(&mut request, 0);
            }
            Some(Self::ChangesBodies) => {
                let spaces = " ".repeat(fastrand::usize(..4));
                let body = [&request.body.to_bytes()[..], spaces.as_bytes()].concat();
                request.body = Bytes::from(body).into();
            }
            _ => {}
        }
        request
    }
}

fn change_id(request: &mut Request, by: u8) {
    let id = request.headers.iter_mut().find(|(name, _)| name == "webhook-id");
    if let Some((_, id)) = id {
        *id = format!("{id}_{by}");
    }
}

/// Lanes' state that is stored or read with a mistake.
pub(crate) struct Mistaken {
    pub(crate) lanes: Arc<dyn Lanes>,
    pub(crate) mutation: Mutation,
}

impl Lanes for Mistaken {
    fn settle(
        &self,
        lane: &DestinationName,
        mut settlement: Settlement,
    ) -> BoxFuture<'_, Result<(), LanesError>> {
        match self.mutation {
            Mutation::CursorRunsAhead => {
                settlement.cursor = settlement.cursor.map(Sequence::next);
            }
            Mutation::Panics => assert!(settlement.parked.len() < 2, "on purpose"),
            Mutation::ForgetsParked => settlement.parked.clear(),
            Mutation::ForgetsDead => {
                for letter in std::mem::take(&mut settlement.buried) {
                    settlement.unparked.push(letter.id);
                }
            }
            _ => {}
        }
        self.lanes.settle(lane, settlement)
    }

    fn parked(&self, lane: &DestinationName) -> BoxFuture<'_, Result<Vec<Parked>, LanesError>> {
        let parked = self.lanes.parked(lane);
        let due_at = match self.mutation {
            Mutation::ForgetsDueTimes => Timestamp::default(),
            Mutation::ForgetsToRetry => Timestamp::from_nanos(i64::MAX),
            _ => return parked,
        };
        Box::pin(async move {
            let mut parked = parked.await?;
            for row in &mut parked {
                row.due_at = due_at;
            }
            Ok(parked)
        })
    }

    fn cursor(
        &self,
        lane: &DestinationName,
    ) -> BoxFuture<'_, Result<Option<Sequence>, LanesError>> {
        self.lanes.cursor(lane)
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.lanes.changed()
    }

    fn dead_letters(
        &self,
        lane: Option<&DestinationName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, LanesError>> {
        self.lanes.dead_letters(lane, limit)
    }

    fn revive(
        &self,
        lane: &DestinationName,
        ids: Option<&[DeliveryId]>,
    ) -> BoxFuture<'_, Result<usize, LanesError>> {
        self.lanes.revive(lane, ids)
    }

    fn deliveries(
        &self,
        query: DeliveryQuery,
    ) -> BoxFuture<'_, Result<Vec<DeliveryRow>, LanesError>> {
        self.lanes.deliveries(query)
    }

    fn delivery(
        &self,
        lane: &DestinationName,
        id: &DeliveryId,
    ) -> BoxFuture<'_, Result<Option<DeliveryDetail>, LanesError>> {
        self.lanes.delivery(lane, id)
    }

    fn dead_after(
        &self,
        lane: &DestinationName,
        cursor: Sequence,
    ) -> BoxFuture<'_, Result<Vec<EventId>, LanesError>> {
        self.lanes.dead_after(lane, cursor)
    }

    fn dead_count(&self, lane: &DestinationName) -> BoxFuture<'_, Result<u64, LanesError>> {
        self.lanes.dead_count(lane)
    }

    fn cursors(&self) -> BoxFuture<'_, Result<Vec<(DestinationName, Sequence)>, LanesError>> {
        self.lanes.cursors()
    }

    fn mark_removed(&self, lanes: &[DestinationName]) -> BoxFuture<'_, Result<(), LanesError>> {
        self.lanes.mark_removed(lanes)
    }

    fn removed(&self) -> BoxFuture<'_, Result<Vec<DestinationName>, LanesError>> {
        self.lanes.removed()
    }

    fn forget(&self, lane: &DestinationName) -> BoxFuture<'_, Result<(), LanesError>> {
        self.lanes.forget(lane)
    }
}
