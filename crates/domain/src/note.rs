//! Notes: news that is of no single call, such as a budget that is spent or a destination that was
//! given up.

use serde::{Deserialize, Serialize};

use crate::{
    budget::BudgetReached,
    event::EventType,
    id::{DeliveryId, DestinationName, EventId},
    time::Timestamp,
};

/// News of no single call. It becomes one event, under its own id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// The event's id: the same news has the same id.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub news: News,
}

/// What a note tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// Spending reached a threshold.
    BudgetReached(BudgetReached),
    /// A destination is no longer sent to.
    DestinationDisabled {
        /// Which.
        destination: DestinationName,
        /// Why, in words.
        reason: String,
    },
    /// A destination takes deliveries again.
    DestinationRecovered {
        /// Which.
        destination: DestinationName,
        /// Since when it did not.
        failing_since: Timestamp,
    },
    /// A delivery was given up and stands in the dead letters.
    DeliveryExhausted {
        /// Of which destination.
        destination: DestinationName,
        /// Which delivery.
        delivery: DeliveryId,
        /// Attempts made.
        attempts: u32,
        /// What the last one ended with, in words.
        reason: String,
    },
}

impl Note {
    /// The type of the event that it becomes.
    pub const fn kind(&self) -> EventType {
        match &self.news {
            News::BudgetReached(_) => EventType::Budget,
            News::DestinationDisabled { .. } => EventType::DestinationDisabled,
            News::DestinationRecovered { .. } => EventType::DestinationRecovered,
            News::DeliveryExhausted { .. } => EventType::DeliveryExhausted,
        }
    }
}
