//! The lanes: one per destination, each restarted if it fails, all ended on shutdown.
//!
//! Makes true what the roster wishes. Owns the tasks; does not decide who is sent to.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    destination::Destination, id::DestinationName, note::Note, record::Record, time::Clock,
};
use provider::price::Prices;
use store::{
    journal::Journal,
    lanes::{Lanes, LanesError, Settlement},
    state::{Destinations, Switches},
};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    control::Control,
    events::Events,
    lane::{Lane, LaneError, Stop},
    leftovers, notes, replay,
    roster::{Chore, Disabled, Roster, Standing, Start},
    send::Transport,
};

/// How long a lane that failed stays down before it starts again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// What all lanes share: nothing but the journal, the client, the clock, and who there is.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) lanes: Arc<dyn Lanes>,
    pub(crate) switches: Arc<dyn Switches>,
    /// Where replays are stored.
    pub(crate) destinations: Arc<dyn Destinations>,
    pub(crate) events: Events,
    pub(crate) sender: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) roster: Roster,
    /// Held while a switch is turned: what is stored must be what lanes do.
    pub(crate) switching: tokio::sync::Mutex<()>,
}

impl Shared {
    /// Deletes all that is stored of a destination's lane.
    pub(crate) async fn forget(&self, name: &DestinationName) -> Result<(), LanesError> {
        let forgotten = self.lanes.forget(name).await;
        self.roster.forgot(name);
        forgotten
    }

    /// Stores that a destination is not sent to, and why, or that it is again.
    pub(crate) async fn store_switch(&self, name: &DestinationName, why: Option<String>) {
        if let Err(error) = self.switches.set(name, why).await {
            let error = report(&error);
            tracing::error!(
                destination = %name, error,
                "A destination's switch could not be stored; it holds until the next start."
            );
        }
    }
}

/// Where lanes read, and where they and those who direct them remember.
pub struct Stores {
    /// What is delivered.
    pub journal: Arc<dyn Journal>,
    /// What became of deliveries.
    pub lanes: Arc<dyn Lanes>,
    /// Which destinations are paused.
    pub switches: Arc<dyn Switches>,
    /// Where replays are stored, beside what doors made.
    pub destinations: Arc<dyn Destinations>,
}

/// Delivers events until it is told to stop.
pub struct Service {
    shared: Arc<Shared>,
}

impl Service {
    /// Prepares a lane for each destination.
    pub fn new(
        config: Config,
        destinations: Vec<Destination>,
        stores: Stores,
        sender: impl Transport,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let Stores { journal, lanes, switches, destinations: made_by_doors } = stores;
        let events = Events::new(Arc::clone(&journal), Prices::new(), config.events_cached_max);
        let roster = Roster::default();
        for destination in destinations {
            roster.put(destination, None, None);
        }
        Self {
            shared: Arc::new(Shared {
                config,
                journal,
                lanes,
                switches,
                destinations: made_by_doors,
                events,
                sender: Arc::new(sender),
                clock,
                roster,
                switching: tokio::sync::Mutex::new(()),
            }),
        }
    }

    /// What changes lanes while they run. Works before `run`, too.
    pub fn control(&self) -> Control {
        Control { shared: Arc::clone(&self.shared) }
    }

    /// Reads which destinations are paused or were, and which replays go on, and gives each lane that
    /// never ran a cursor at the journal's head. Must be done before the first call is admitted: what
    /// is admitted afterwards is owed to every destination. Tells which are not there any more.
    pub async fn register(&self) -> Result<(), LanesError> {
        let Shared { lanes, roster, switches, journal, .. } = &*self.shared;
        for (name, why, since) in switches.disabled().await? {
            roster.disable(&name, Disabled { why, since });
        }
        for (name, at) in switches.resumed().await? {
            roster.was_resumed(name, at);
        }
        let head = *journal.head().borrow();
        for destination in roster.seen().into_iter().map(|seen| seen.destination) {
            let lane = &destination.name;
            let stored = lanes.cursor(lane).await?;
            if stored.is_none() {
                let settlement = Settlement { cursor: Some(head), ..Settlement::default() };
                lanes.settle(lane, settlement).await?;
            }
            if let Some(view) = roster.view(lane) {
                let cursor = stored.unwrap_or(head);
                view.publish(Standing { cursor, ..Standing::default() });
            }
        }
        replay::restore(&self.shared).await?;
        leftovers::announce(&self.shared).await
    }

    /// Runs the lanes until `stop`; then they send what they hold within the settle time-out.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks =
            Tasks { shared: self.shared, stop, set: JoinSet::new(), lanes: HashMap::new() };
        tasks.shared.roster.serve(true);
        let mut changes = tasks.shared.roster.changes();
        let mut revived = tasks.shared.lanes.changed();
        while !tasks.stop.is_cancelled() {
            changes.mark_unchanged();
            tasks.begin_chores();
            tokio::select! {
                biased;
                () = tasks.stop.cancelled() => {}
                Ok(()) = changes.changed() => {}
                Ok(()) = revived.changed() => tasks.take_up_revived(),
                Some(ended) = tasks.set.join_next_with_id() => tasks.ended(ended),
            }
        }
        while let Some(ended) = tasks.set.join_next_with_id().await {
            tasks.ended(ended);
        }
        tasks.shared.roster.serve(false);
        // What lanes said last is worth telling, too.
        tasks.begin_last_chores();
        while tasks.set.join_next().await.is_some() {}
    }
}

/// The running tasks.
struct Tasks {
    shared: Arc<Shared>,
    stop: CancellationToken,
    set: JoinSet<Option<Result<(), LaneError>>>,
    lanes: HashMap<Id, Arc<Destination>>,
}

impl Tasks {
    fn begin_chores(&mut self) {
        for chore in self.shared.roster.chores() {
            self.begin(chore);
        }
    }

    /// Lanes are not started any more.
    fn begin_last_chores(&mut self) {
        for chore in self.shared.roster.chores() {
            if matches!(chore, Chore::Tell(_) | Chore::GiveUp(..) | Chore::Finish(..)) {
                self.begin(chore);
            }
        }
    }

    fn begin(&mut self, chore: Chore) {
        let shared = Arc::clone(&self.shared);
        match chore {
            Chore::Start(start) => {
                let destination = Arc::clone(&start.destination);
                let stop = Stop { drain: self.stop.clone(), halt: start.halt.clone() };
                let work = async move { Some(work(shared, start, stop).await) };
                self.lanes.insert(self.set.spawn(work).id(), destination);
            }
            Chore::Forget(name) => {
                self.set.spawn(async move {
                    if let Err(error) = shared.forget(&name).await {
                        let error = report(&error);
                        tracing::error!(
                            destination = %name, error,
                            "A removed destination's rows could not be deleted; the next start says \
                             what is left."
                        );
                    }
                    None
                });
            }
            Chore::Tell(note) => {
                self.set.spawn(async move {
                    tell(&shared, note).await;
                    None
                });
            }
            Chore::Finish(name, standing) => {
                self.set.spawn(async move {
                    replay::finish(&shared, &name, standing).await;
                    None
                });
            }
            Chore::GiveUp(name, disabled) => {
                self.set.spawn(async move {
                    {
                        let _turn = shared.switching.lock().await;
                        // Somebody may have resumed it meanwhile.
                        if shared.roster.is_disabled(&name, &disabled) {
                            shared.store_switch(&name, Some(disabled.why.clone())).await;
                        }
                    }
                    tell(&shared, notes::disabled(&name, disabled)).await;
                    None
                });
            }
        }
    }

    /// Running lanes notice by themselves what another process revived; replays that have ended do not.
    fn take_up_revived(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.set.spawn(async move {
            replay::take_up_revived(&shared).await;
            None
        });
    }

    fn ended(&mut self, ended: Result<(Id, Option<Result<(), LaneError>>), JoinError>) {
        let (id, ending) = match ended {
            Ok((id, Some(Ok(())))) => (id, Ok(())),
            Ok((id, Some(Err(error)))) => (id, Err(report(&error))),
            Ok((_, None)) => return,
            Err(error) => (error.id(), Err(error.to_string())),
        };
        let Some(destination) = self.lanes.remove(&id) else { return };
        if let Err(error) = &ending {
            tracing::error!(destination = %destination.name, error, "A lane failed.");
        }
        self.shared.roster.ended(&destination.name, ending.is_err());
    }
}

async fn work(shared: Arc<Shared>, start: Start, stop: Stop) -> Result<(), LaneError> {
    if start.after_failure {
        tokio::select! {
            biased;
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            () = stop.either() => {}
        }
    }
    let (name, version) = (start.destination.name.clone(), start.version);
    let lane = Lane::open(Arc::clone(&shared), start).await?;
    if !shared.roster.began(&name, version) {
        return Ok(());
    }
    lane.run(stop).await
}

/// Appends news to the journal. What is lost here is news about deliveries, never a delivery.
async fn tell(shared: &Shared, note: Note) {
    let kind = note.kind().as_str();
    let appended = shared.journal.append(Record::Noted(Arc::new(note)));
    if let Err(error) = appended.await {
        let error = report(&error);
        tracing::warn!(error, "A `{kind}` event could not be recorded.");
    }
}

/// An error and its causes on one line.
pub(crate) fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
