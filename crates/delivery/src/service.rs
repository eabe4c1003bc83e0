//! The lanes: one per destination, each restarted if it fails, all ended on shutdown.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{destination::Destination, time::Clock};
use provider::price::Prices;
use store::{
    journal::Journal,
    lanes::{Lanes, LanesError, Settlement},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    events::Events,
    lane::{Lane, LaneError},
    send::Sender,
};

/// How long a lane that failed stays down before it starts again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// What all lanes share: nothing but the journal, the client and the clock.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) lanes: Arc<dyn Lanes>,
    pub(crate) events: Events,
    pub(crate) sender: Sender,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Delivers events until it is told to stop.
pub struct Service {
    shared: Arc<Shared>,
    destinations: Vec<Arc<Destination>>,
}

impl Service {
    /// Prepares a lane for each destination.
    pub fn new(
        config: Config,
        destinations: Vec<Destination>,
        journal: Arc<dyn Journal>,
        lanes: Arc<dyn Lanes>,
        sender: Sender,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let events = Events::new(Arc::clone(&journal), Prices::new(), config.events_cached_max);
        let shared = Arc::new(Shared { config, journal, lanes, events, sender, clock });
        Self { shared, destinations: destinations.into_iter().map(Arc::new).collect() }
    }

    /// Gives each lane that never ran a cursor at the journal's head. Must be done before the first
    /// call is admitted: what is admitted afterwards is owed to every destination.
    pub async fn register(&self) -> Result<(), LanesError> {
        let head = *self.shared.journal.head().borrow();
        for destination in &self.destinations {
            let lane = &destination.name;
            if self.shared.lanes.cursor(lane).await?.is_none() {
                let settlement = Settlement { cursor: Some(head), ..Settlement::default() };
                self.shared.lanes.settle(lane, settlement).await?;
            }
        }
        Ok(())
    }

    /// Runs the lanes until `stop`; then they send what they hold within the settle time-out.
    pub async fn run(self, stop: CancellationToken) {
        let mut running = JoinSet::new();
        let mut destinations = HashMap::new();
        for destination in self.destinations {
            let work =
                work(Arc::clone(&self.shared), Arc::clone(&destination), stop.clone(), false);
            destinations.insert(running.spawn(work).id(), destination);
        }
        while let Some(ended) = running.join_next_with_id().await {
            let (id, error) = match ended {
                Ok((id, Ok(()))) => (id, None),
                Ok((id, Err(error))) => (id, Some(report(&error))),
                Err(error) => (error.id(), Some(error.to_string())),
            };
            let Some(destination) = destinations.remove(&id) else { continue };
            let Some(error) = error else { continue };
            tracing::error!(destination = %destination.name, error, "A lane failed.");
            if !stop.is_cancelled() {
                let (shared, again) = (Arc::clone(&self.shared), Arc::clone(&destination));
                let work = work(shared, again, stop.clone(), true);
                destinations.insert(running.spawn(work).id(), destination);
            }
        }
    }
}

async fn work(
    shared: Arc<Shared>,
    destination: Arc<Destination>,
    stop: CancellationToken,
    after_failure: bool,
) -> Result<(), LaneError> {
    if after_failure {
        tokio::select! {
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }
    Lane::open(shared, destination).await?.run(stop).await
}

/// An error and its causes on one line.
fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
