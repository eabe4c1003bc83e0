//! What the writer does when a commit fails: refuse new calls, and keep faith with admitted ones.
//!
//! On a full disk the ballast makes room and bodies are cut to what fits. On a broken one the
//! database is opened again. Outcomes wait meanwhile, but their callers not for ever: those are told
//! that it failed, and the outcomes are written once that works, so that no call stays open.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use domain::{
    exchange::{Exchange, Payload},
    record::Record,
};
use tokio::sync::oneshot;

use crate::{
    journal::{AppendError, BoxError, Health},
    sqlite::{
        files,
        live::{Live, WriteError},
        shared::AppendJob,
        tail,
        writer::{Trouble, Writer},
    },
};

/// How long outcomes wait for a disk that does not take them, before their callers are told.
const HOPE: Duration = Duration::from_secs(5);
/// Weight of the outcomes kept after that, beyond which their bodies go.
const GIVEN_UP_WEIGHT_MAX: usize = 64 << 20;
/// The first pause between tries, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Less free space than this is a full disk, whatever the error says.
const FULL_BYTES: u64 = 1 << 20;
/// Of the free space, the outcomes of all open calls may take this share: pages, indexes and other
/// files need some too.
const SHARE_OF_FREE: u64 = 4;

impl Writer {
    /// Commits the outcomes of a group that failed, and refuses the rest of it.
    pub(super) fn rescue(&mut self, group: &mut Vec<AppendJob>, error: WriteError) {
        let began = Instant::now();
        let mut pause = PAUSES.0;
        let mut error = error;
        loop {
            let (trouble, cause) = self.judge(error);
            self.refuse_calls(trouble, &cause);
            self.shared.appends.drain_into(group);
            refuse_all_but_outcomes(group, &self.shared.refusal().unwrap_or_default());
            let made_room = trouble == Trouble::Full && self.release_ballast();
            if group.is_empty() {
                return;
            }
            if began.elapsed() >= HOPE {
                let cause: Arc<dyn std::error::Error + Send + Sync> = Arc::from(cause);
                for AppendJob { record, done } in group.drain(..) {
                    self.given_up.keep(record);
                    // The caller may have left; the record stays to be written all the same.
                    let _ = done.send(Err(AppendError::Commit { cause: Arc::clone(&cause) }));
                }
                return;
            }
            if !made_room {
                thread::sleep(pause);
                pause = (pause * 2).min(PAUSES.1);
            }
            if trouble == Trouble::Broken {
                self.reopen();
            }
            match self.try_commit(group) {
                Ok(()) => return,
                Err(again) => error = again,
            }
        }
    }

    fn judge(&self, error: WriteError) -> (Trouble, BoxError) {
        let free = files::free_bytes(self.shared.catalog.dir());
        match error {
            WriteError::Full(cause) => (Trouble::Full, cause),
            WriteError::Broken(cause) if free.is_ok_and(|free| free < FULL_BYTES) => {
                (Trouble::Full, cause)
            }
            WriteError::Broken(cause) => (Trouble::Broken, cause),
        }
    }

    fn refuse_calls(&mut self, trouble: Trouble, cause: &BoxError) {
        let dir = self.shared.catalog.dir().display();
        let reason = match trouble {
            Trouble::Full => format!("the disk that holds `{dir}` is full"),
            Trouble::Broken => format!("writing to `{dir}` fails: {cause}"),
        };
        if self.trouble != Some(trouble) {
            tracing::error!(
                reason, error = %cause,
                "The journal takes no new calls; it tries again every second.",
            );
        }
        self.trouble = Some(trouble);
        self.shared.set_health(Health::Refusing(reason));
    }

    fn release_ballast(&mut self) -> bool {
        self.ballast.release().unwrap_or_else(|error| {
            tracing::error!(%error, "The ballast could not be removed.");
            false
        })
    }

    /// Opens the live period again. What the failed commit may have left there goes.
    fn reopen(&mut self) {
        let live = Live::open(&self.shared.catalog, self.live.first, self.shared.config.durability);
        match live.and_then(|live| live.cut_after(self.head).map(|()| live)) {
            Ok(live) => self.live = live,
            Err(error) => {
                tracing::warn!(error = %error.into_cause(), "The journal could not be reopened.");
            }
        }
    }

    /// Ends a trouble if writing works again and the outcomes that nobody waits for are written.
    pub(super) fn try_to_recover(&mut self) {
        if self.trouble.is_none() || !self.has_recovered() {
            return;
        }
        // While the trouble lasts, so that bodies are still cut to what fits.
        if let Err(error) = self.append_given_up() {
            let (trouble, cause) = self.judge(error);
            return self.refuse_calls(trouble, &cause);
        }
        self.trouble = None;
        self.shared.set_health(Health::Ready);
        tracing::info!("The journal takes calls again.");
    }

    fn append_given_up(&mut self) -> Result<(), WriteError> {
        let given_up = std::mem::take(&mut self.given_up);
        // Nobody waits for the answer.
        let job = |record| AppendJob { record, done: oneshot::channel().0 };
        let mut group = given_up.records.into_iter().map(job).collect();
        let appended = self.try_commit(&mut group);
        for AppendJob { record, .. } in group {
            self.given_up.keep(record);
        }
        appended
    }

    /// Whether calls may be admitted again: there is room for their outcomes, and writing works.
    fn has_recovered(&mut self) -> bool {
        if self.trouble == Some(Trouble::Broken) {
            self.reopen();
        }
        self.ballast.restore().is_ok() && self.live.probe().is_ok()
    }

    /// Cuts bodies so that the outcomes of all open calls find room. The response goes before the
    /// request: it says what the call used.
    pub(super) fn cut_bodies(&self, group: &mut [AppendJob]) {
        let free = files::free_bytes(self.shared.catalog.dir()).unwrap_or(0);
        let share = free / SHARE_OF_FREE / (self.open.len() as u64).max(1);
        for job in group {
            if let Record::Sealed(exchange) = &mut job.record {
                cut(exchange, usize::try_from(share).unwrap_or(usize::MAX));
            }
        }
    }
}

/// Outcomes that could not be written while their callers waited. There are at most as many as calls
/// were open when the trouble began, for it lets none in.
#[derive(Debug, Default)]
pub(in crate::sqlite) struct GivenUp {
    records: Vec<Record>,
    weight: usize,
}

impl GivenUp {
    fn keep(&mut self, mut record: Record) {
        if self.weight + tail::weight(&record) > GIVEN_UP_WEIGHT_MAX
            && let Record::Sealed(exchange) = &mut record
        {
            cut(exchange, 0);
        }
        self.weight += tail::weight(&record);
        self.records.push(record);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Answers and removes what is not an outcome.
fn refuse_all_but_outcomes(group: &mut Vec<AppendJob>, reason: &str) {
    let refused = group.extract_if(.., |job| !matches!(job.record, Record::Sealed(_)));
    for AppendJob { done, .. } in refused {
        // Nobody waits for a piece of a stream.
        let _ = done.send(Err(AppendError::Refusing { reason: reason.to_owned() }));
    }
}

fn cut(exchange: &mut Arc<Exchange>, bytes_max: usize) {
    let Exchange { request, response, .. } = &**exchange;
    if request.bytes.len() + response.bytes.len() <= bytes_max {
        return;
    }
    let response = shortened(response, bytes_max);
    let request = shortened(request, bytes_max - response.bytes.len());
    *exchange = Arc::new(Exchange { facts: exchange.facts.clone(), request, response });
}

fn shortened(body: &Payload, bytes_max: usize) -> Payload {
    if body.bytes.len() <= bytes_max {
        return body.clone();
    }
    Payload { bytes: body.bytes.slice(..bytes_max), truncated: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::sample::sealed;

    #[test]
    fn outcomes_that_are_given_up_keep_their_bodies_while_there_is_room_for_them() {
        let mut given_up = GivenUp::default();
        let large = GIVEN_UP_WEIGHT_MAX / 5;
        for number in 1..=4 {
            given_up.keep(sealed(number, large));
        }
        given_up.keep(sealed(5, 9));
        let kept: Vec<_> = given_up.records.iter().map(body_lengths).collect();
        assert_eq!(kept, [(large, large), (large, large), (0, 0), (0, 0), (9, 9)]);
        let Record::Sealed(cut) = &given_up.records[3] else { unreachable!("an outcome") };
        assert!(cut.request.truncated && cut.response.truncated);
        assert_eq!(Some(cut.facts.call.id), sealed(4, 0).call_id());
    }

    fn body_lengths(record: &Record) -> (usize, usize) {
        let Record::Sealed(exchange) = record else { return (0, 0) };
        (exchange.request.bytes.len(), exchange.response.bytes.len())
    }
}
