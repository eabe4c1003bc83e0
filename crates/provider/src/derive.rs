//! Exchanges to events.

use domain::{event::Event, record::Entry};

use crate::price::Prices;

/// The events that follow from a record.
pub fn derive(_entry: &Entry, _prices: &Prices) -> Vec<Event> {
    unimplemented!()
}
