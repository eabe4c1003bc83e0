//! At start: calls of the last run that have no outcome get one, once.

use std::sync::Arc;

use domain::{
    exchange::{Exchange, Facts, Outcome, Payload},
    record::Record,
    time::Clock,
};
use store::journal::{AppendError, Journal, ReadError};

use crate::seal::interrupted;

/// Why the calls of the last run could not be settled. The next start tries again.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// They could not be read.
    #[error("could not read the calls that the last run left open")]
    Read(#[from] ReadError),
    /// An outcome could not be written.
    #[error("could not settle a call that the last run left open")]
    Append(#[from] AppendError),
}

/// Gives each call that was admitted and never sealed the outcome `interrupted`; returns how many.
///
/// Must run before the first call of this process is admitted.
pub async fn recover(journal: &dyn Journal, clock: &dyn Clock) -> Result<usize, RecoverError> {
    let open = journal.unsettled().await?;
    let count = open.len();
    let mut commits = Vec::with_capacity(count);
    for call in open {
        let failure = interrupted("the gateway stopped or crashed while the call ran");
        let facts = Facts {
            call,
            attempts: Vec::new(),
            outcome: Outcome::Failed(failure),
            first_byte_at: None,
            finished_at: clock.now(),
            response_is_stream: false,
            retries: 0,
            fallbacks: 0,
        };
        let exchange =
            Exchange { facts, request: Payload::default(), response: Payload::default() };
        commits.push(journal.append(Record::Sealed(Arc::new(exchange))));
    }
    for commit in commits {
        commit.await?;
    }
    Ok(count)
}
