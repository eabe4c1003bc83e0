//! What becomes of a delivery that is more than its receiver takes (413): a batch is halved, a
//! single event goes without its message texts. What is probed with is halved too (`settling`).
//!
//! Invariant: no event is left out, and each half is a delivery of its own with its own id. Texts
//! are left out only where one event alone is too large.

use domain::{
    destination::{Destination, Format},
    id::EventId,
    time::Timestamp,
};
use webhook::request;

use crate::{
    lane::Lane,
    sending::{Delivery, Running, Work},
    settling::Again,
    shelf::Attempts,
};

impl Lane {
    /// The receiver answered 413.
    pub(crate) fn too_large(&mut self, running: Running, reason: String, now: Timestamp) {
        let may_shrink = match &running.work {
            Work::Piece(_) => false,
            Work::Delivery(delivery) if delivery.events.len() > 1 => true,
            Work::Delivery(delivery) => !delivery.is_thin && has_thin_form(&self.destination),
        };
        if !may_shrink {
            return self.failed(running, Again::Useless, reason, now);
        }
        // It says nothing about whether the receiver takes others.
        self.learned_nothing(running.target, now);
        let Work::Delivery(delivery) = running.work else { return };
        tracing::info!(
            destination = %self.name(), delivery.id = %delivery.id, reason,
            events = delivery.events.len(), "A delivery is too large; smaller ones go instead."
        );
        if delivery.events.len() > 1 {
            return self.go_in_halves(delivery, reason, now);
        }
        let thin = Delivery { is_thin: true, body: None, ..delivery };
        self.go_again(thin, reason, now);
    }

    /// Each half of a batch goes at once, with no attempt counted.
    pub(crate) fn go_in_halves(&mut self, delivery: Delivery, reason: String, now: Timestamp) {
        if delivery.is_parked {
            self.books.unpark(delivery.id.clone());
        }
        let [first, second] = halves(delivery);
        self.go_again(second, reason.clone(), now);
        self.go_again(first, reason, now);
    }

    /// At once, with no attempt counted: before those that are younger.
    fn go_again(&mut self, delivery: Delivery, reason: String, now: Timestamp) {
        if delivery.is_parked {
            self.park(delivery, now, reason, false);
        } else {
            self.queue.put_back(delivery);
        }
    }
}

/// The earlier and the later half of a batch, each a delivery that has had no attempt.
fn halves(delivery: Delivery) -> [Delivery; 2] {
    let Delivery { mut events, is_parked, is_thin, probes, .. } = delivery;
    let later = events.split_off(events.len() / 2);
    [events, later].map(|events| {
        let ids: Vec<&EventId> = events.iter().map(|event| &event.event).collect();
        let id = request::delivery_id(&ids);
        let attempts = Attempts::default();
        Delivery { id, events, attempts, body: None, is_parked, is_thin, probes }
    })
}

/// Whether a format writes less of an event when it leaves message texts out.
fn has_thin_form(destination: &Destination) -> bool {
    !destination.privacy && destination.format != Format::LitellmAlert
}
