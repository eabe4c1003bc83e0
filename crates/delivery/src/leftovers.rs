//! What destinations leave behind that are not there any more: those that were taken out of the
//! configuration file. One that is removed through a door leaves nothing.
//!
//! All of it is kept as it is, until the destination is put back or deleted: nothing reads it, and
//! nothing is sent. It holds no record of the journal up: retention deletes what it did not come to.

use domain::{id::DestinationName, record::Sequence};
use store::lanes::LanesError;

use crate::{control::Control, replay, service::Shared};

/// What stands under the name of a destination that is not there any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The name.
    pub name: DestinationName,
    /// Everything up to here was settled.
    pub cursor: Sequence,
    /// Records of the journal behind the cursor.
    pub lag: u64,
    /// Deliveries that wait for another attempt, those of its replays among them.
    pub waiting: usize,
    /// Dead letters, those of its replays among them.
    pub dead_letters: u64,
}

/// Why nothing is sent to a destination that is not there any more, and what to do.
pub fn why_unsent(name: &DestinationName) -> String {
    format!(
        "destination `{name}` is not there any more, so nothing is sent to it: put it back into the \
         configuration and start again, or delete what it left by `DELETE /api/destinations/{name}`"
    )
}

impl Control {
    /// What destinations left behind that are not there any more, by name.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>, LanesError> {
        find(&self.shared).await
    }
}

async fn find(shared: &Shared) -> Result<Vec<Leftover>, LanesError> {
    let stored = shared.destinations.all().await?;
    let is_stored = |name: &DestinationName| stored.iter().any(|known| known.name == *name);
    let head = *shared.journal.head().borrow();
    let mut leftovers = Vec::new();
    for (name, cursor) in shared.lanes.cursors().await? {
        if is_stored(&name) || shared.roster.view(&name).is_some() {
            continue;
        }
        let is_to_it = |to: DestinationName| to == name;
        let replays = stored.iter().filter(|s| replay::destination_of(s).is_some_and(is_to_it));
        let lanes = std::iter::once(&name).chain(replays.map(|replay| &replay.name));
        let (mut waiting, mut dead_letters) = (0, 0);
        for lane in lanes {
            waiting += shared.lanes.parked(lane).await?.len();
            dead_letters += shared.lanes.dead_count(lane).await?;
        }
        let lag = head.0.saturating_sub(cursor.0);
        leftovers.push(Leftover { name, cursor, lag, waiting, dead_letters });
    }
    leftovers.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(leftovers)
}

/// Says at the start which destinations are not there any more, and marks them for commands, which
/// know no configuration.
pub(crate) async fn announce(shared: &Shared) -> Result<(), LanesError> {
    let leftovers = find(shared).await?;
    for Leftover { name, lag, waiting, dead_letters, .. } in &leftovers {
        tracing::warn!(
            destination = %name, waiting, dead_letters, lag,
            "The destination is not in the configuration any more. What it left is kept, and sent \
             nowhere: put it back, or delete all of it by `DELETE /api/destinations/{name}`."
        );
    }
    let names: Vec<_> = leftovers.into_iter().map(|leftover| leftover.name).collect();
    if names != shared.lanes.removed().await? {
        shared.lanes.mark_removed(&names).await?;
    }
    Ok(())
}
