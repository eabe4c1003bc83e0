//! Which events a destination gets.

use domain::{
    destination::Destination,
    event::{Event, EventType},
};

/// Whether the destination gets the event as one of type `kind`.
pub fn matches(kind: EventType, event: &Event, destination: &Destination) -> bool {
    let _ = (kind, event, destination);
    unimplemented!()
}
