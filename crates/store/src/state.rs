//! What the gateway itself remembers, as its users see it: destinations made through a door,
//! switches, and what was spent. The lanes' own state is in `lanes`.

use domain::{
    budget::BudgetScope,
    id::{DestinationName, EventId},
    note::Note,
    record::Sequence,
    secret::Secret,
    time::Timestamp,
};

use crate::{journal::BoxFuture, lanes::LanesError};

/// Destinations that were made through a door, and not by a configuration file.
pub trait Destinations: Send + Sync + 'static {
    /// All of them, oldest first.
    fn all(&self) -> BoxFuture<'_, Result<Vec<StoredDestination>, LanesError>>;

    /// Stores one, in place of the one of that name if there is one.
    fn put(&self, destination: StoredDestination) -> BoxFuture<'_, Result<(), LanesError>>;

    /// Removes one, and everything that its lane and its switch remember. Says whether there was one.
    fn remove(&self, name: &DestinationName) -> BoxFuture<'_, Result<bool, LanesError>>;
}

/// A destination as a door made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDestination {
    /// Its name, unique, which is also its lane's.
    pub name: DestinationName,
    /// The id that its door shows, unique among all doors: a UUID, or a decimal number for Helicone's.
    pub id: String,
    /// Which door made it: `api`, `helicone` or `openrouter`.
    pub door: String,
    /// What the door asked for, as JSON without secrets. Only the console reads it.
    pub spec: String,
    /// Its secrets by slot, in order; a slot may have several. On disk they are sealed.
    pub secrets: Vec<(String, Secret)>,
    /// Whether it is sent to.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last put.
    pub updated_at: Timestamp,
}

/// Pausing of destinations, also of those that a configuration file names. It survives restarts.
pub trait Switches: Send + Sync + 'static {
    /// What is paused, why, and since when; by name.
    fn disabled(&self) -> BoxFuture<'_, Result<Vec<Disabled>, LanesError>>;

    /// What was paused and then resumed, and when last; by name.
    fn resumed(&self) -> BoxFuture<'_, Result<Vec<Resumed>, LanesError>>;

    /// Pauses a destination for a reason, or resumes it (`None`). Paused anew, it keeps its time.
    fn set(
        &self,
        name: &DestinationName,
        reason: Option<String>,
    ) -> BoxFuture<'_, Result<(), LanesError>>;
}

/// A paused destination: its name, why, and since when.
pub type Disabled = (DestinationName, String, Timestamp);

/// A resumed destination: its name, and when it was last resumed.
pub type Resumed = (DestinationName, Timestamp);

/// What was spent.
///
/// Invariant: a step is stored whole or not at all, so each outcome up to the cursor counts once.
pub trait Spending: Send + Sync + 'static {
    /// All there is.
    fn load(&self) -> BoxFuture<'_, Result<Spent, LanesError>>;

    /// Stores a step in one transaction.
    fn advance(&self, step: SpendStep) -> BoxFuture<'_, Result<(), LanesError>>;
}

/// What was spent so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spent {
    /// Up to where the journal is counted; `None` if it never was.
    pub cursor: Option<Sequence>,
    /// A row for each budget, value and period.
    pub rows: Vec<SpentRow>,
    /// Notes that are not known to be in the journal yet, oldest first.
    pub pending: Vec<Note>,
}

/// What one value of a budget spent in one period.
#[derive(Debug, Clone, PartialEq)]
pub struct SpentRow {
    /// Which budget, value and period.
    pub key: SpentKey,
    /// In billionths of a US dollar.
    pub spent_nanodollars: i64,
    /// Thresholds that were told, in percent.
    pub told: Vec<f64>,
}

/// Which budget, value and period a row is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpentKey {
    /// The budget's scope.
    pub scope: BudgetScope,
    /// The budget's pattern (`Budget::matches`).
    pub pattern: String,
    /// The key's name, the end user or the tag; empty for the gateway's budget.
    pub matched: String,
    /// The budget's duration in one word, such as `daily`.
    pub duration: String,
    /// When the period began.
    pub period_started_at: Timestamp,
}

/// One step of counting.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpendStep {
    /// Up to where the journal is counted now.
    pub cursor: Sequence,
    /// Rows that changed, whole.
    pub rows: Vec<SpentRow>,
    /// Rows whose period is over.
    pub forgotten: Vec<SpentKey>,
    /// Notes that are to be appended to the journal.
    pub pending: Vec<Note>,
    /// Notes that were seen in the journal, and are no longer pending.
    pub told: Vec<EventId>,
}
