//! Deliveries that failed and wait: when each is due, and which are to be buried.
//!
//! Invariant: a delivery is buried only while others pass. Attempts that failed with no success in
//! between are the lane's misfortune once the breaker opens, and are not counted against any. But
//! where others pass seldom, a delivery that never passes opens the breaker all by itself, again and
//! again: one that has failed in several outages with successes between them is under suspicion,
//! and the next success buries it.

use std::collections::{BTreeSet, HashMap};

use domain::{
    delivery::{EventRef, Parked},
    id::DeliveryId,
    time::Timestamp,
};

/// The parked deliveries of one lane.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    waiting: HashMap<DeliveryId, Waiting>,
    due: BTreeSet<(Timestamp, DeliveryId)>,
    /// Out of attempts, but nothing else has passed since.
    doomed: Vec<DeliveryId>,
    /// Counts successes; attempts of the present epoch may still be taken back.
    epoch: u64,
}

/// A delivery that waits.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) id: DeliveryId,
    pub(crate) events: Vec<EventRef>,
    pub(crate) attempts: Attempts,
    pub(crate) due_at: Timestamp,
    pub(crate) reason: String,
    pub(crate) is_thin: bool,
}

/// Attempts of one delivery that count against `max_attempts`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attempts {
    counted: u32,
    at_risk: u32,
    epoch: u64,
    /// Outages in which it failed, with successes of others between them; and the epoch of the last.
    outages: u32,
    outage_epoch: u64,
}

/// The fewest outages that make a delivery suspicious, however few attempts it has.
const OUTAGES_MIN: u32 = 3;

impl Attempts {
    /// As a row stored it.
    pub(crate) fn stored(counted: u32) -> Self {
        Self { counted, ..Self::default() }
    }

    /// Whether it has failed in so many outages that they must be of its own making.
    fn is_suspicious(self, max_attempts: u32) -> bool {
        self.outages >= max_attempts.max(OUTAGES_MIN)
    }

    /// Whether it is to be given up once another delivery has passed.
    pub(crate) fn is_doomed(self, max_attempts: u32) -> bool {
        self.counted >= max_attempts || self.is_suspicious(max_attempts)
    }

    /// How many count.
    pub(crate) fn count(self) -> u32 {
        self.counted
    }
}

impl Shelf {
    /// Parked deliveries, those in flight not among them.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a delivery waits here.
    pub(crate) fn holds(&self, id: &DeliveryId) -> bool {
        self.waiting.contains_key(id)
    }

    /// One more attempt failed, since the last success.
    pub(crate) fn count(&self, attempts: &mut Attempts) {
        if attempts.epoch != self.epoch {
            *attempts = Attempts { at_risk: 0, epoch: self.epoch, ..*attempts };
        }
        attempts.counted = attempts.counted.saturating_add(1);
        attempts.at_risk += 1;
    }

    /// One more attempt failed while the receiver is down.
    pub(crate) fn count_outage(&self, attempts: &mut Attempts) {
        attempts.failed_in_outage(self.epoch);
    }

    /// Puts a delivery back until it is due. A doomed one is buried at the next success.
    pub(crate) fn park(&mut self, waiting: Waiting, doomed: bool) {
        self.due.insert((waiting.due_at, waiting.id.clone()));
        if doomed {
            self.doomed.push(waiting.id.clone());
        }
        self.waiting.insert(waiting.id.clone(), waiting);
    }

    /// Those that are not out of attempts. The others wait for something else to pass and bury them,
    /// so nothing may wait for them.
    pub(crate) fn living(&self) -> usize {
        self.waiting.len() - self.doomed.len()
    }

    /// Whether one waits that others may not overtake where order is strict.
    pub(crate) fn holds_up(&self) -> bool {
        self.living() > 0
    }

    /// Whether one is to be buried at the next success.
    pub(crate) fn has_doomed(&self) -> bool {
        !self.doomed.is_empty()
    }

    /// When the first is due.
    pub(crate) fn due_at(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// When the first in the journal's order is due.
    pub(crate) fn due_in_order(&self) -> Option<Timestamp> {
        self.first_in_order().map(|waiting| waiting.due_at)
    }

    /// The first in the journal's order that holds others up.
    fn first_in_order(&self) -> Option<&Waiting> {
        let waiting = self.waiting.values().filter(|waiting| !self.doomed.contains(&waiting.id));
        waiting.min_by_key(|waiting| (waiting.events.first().map(|e| e.sequence), &waiting.id))
    }

    /// Takes the first in the journal's order that holds others up, if it is due or `early`.
    pub(crate) fn take_in_order(&mut self, now: Timestamp, early: bool) -> Option<Waiting> {
        let first = self.first_in_order().filter(|first| early || first.due_at <= now)?;
        let id = first.id.clone();
        let waiting = self.waiting.remove(&id)?;
        self.due.remove(&(waiting.due_at, id));
        Some(waiting)
    }

    /// Takes the first that is due; with `early`, the first at all (to probe with).
    pub(crate) fn take(&mut self, now: Timestamp, early: bool) -> Option<Waiting> {
        let (due, _) = self.due.first()?;
        if *due > now && !early {
            return None;
        }
        let (_, id) = self.due.pop_first()?;
        self.doomed.retain(|doomed| *doomed != id);
        self.waiting.remove(&id)
    }

    /// Another delivery passed: returns those to bury.
    pub(crate) fn passed(&mut self) -> Vec<Waiting> {
        self.epoch += 1;
        let doomed = std::mem::take(&mut self.doomed);
        let mut buried = Vec::with_capacity(doomed.len());
        for id in doomed {
            if let Some(waiting) = self.waiting.remove(&id) {
                self.due.remove(&(waiting.due_at, id));
                buried.push(waiting);
            }
        }
        buried
    }

    /// The receiver is down: what failed since the last success is not the deliveries' fault, be
    /// they here or in flight. Those under suspicion stay doomed.
    pub(crate) fn pardon<'a>(
        &mut self,
        max_attempts: u32,
        in_flight: impl Iterator<Item = &'a mut Attempts>,
    ) {
        let epoch = self.epoch;
        for waiting in self.waiting.values_mut() {
            waiting.attempts.pardon(epoch);
        }
        for attempts in in_flight {
            attempts.pardon(epoch);
        }
        let waiting = &self.waiting;
        self.doomed.retain(|id| {
            let doomed = waiting.get(id);
            doomed.is_some_and(|doomed| doomed.attempts.is_doomed(max_attempts))
        });
    }

    /// Attempts that count for certain: another delivery has passed since.
    pub(crate) fn certain(&self, mut attempts: Attempts) -> u32 {
        if attempts.epoch == self.epoch {
            attempts.forget_risk();
        }
        attempts.counted
    }

    /// One that waits, as its row keeps it. Attempts since the last success are left out: whether
    /// they count is not known yet, and after a restart nobody could take them back.
    pub(crate) fn row(&self, waiting: &Waiting) -> Parked {
        Parked {
            id: waiting.id.clone(),
            events: waiting.events.clone(),
            attempts: self.certain(waiting.attempts),
            due_at: waiting.due_at,
            reason: waiting.reason.clone(),
        }
    }
}

impl Attempts {
    /// The breaker opened. An outage counts once, and only after the first success: before it
    /// nobody knows whether the receiver ever worked.
    fn pardon(&mut self, epoch: u64) {
        if self.epoch != epoch {
            return;
        }
        if self.at_risk > 0 {
            self.failed_in_outage(epoch);
        }
        self.forget_risk();
    }

    fn failed_in_outage(&mut self, epoch: u64) {
        if self.outage_epoch != epoch {
            self.outages += 1;
            self.outage_epoch = epoch;
        }
    }

    /// Takes back what may not count.
    fn forget_risk(&mut self) {
        self.counted -= self.at_risk;
        self.at_risk = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(shelf: &Shelf, id: &str, failures: u32) -> Waiting {
        let mut attempts = Attempts::default();
        for _ in 0..failures {
            shelf.count(&mut attempts);
        }
        let id = DeliveryId::new(id);
        let reason = "500".to_owned();
        let due_at = Timestamp::from_millis(1);
        Waiting { id, events: Vec::new(), attempts, due_at, reason, is_thin: false }
    }

    fn ids(buried: &[Waiting]) -> Vec<&str> {
        buried.iter().map(|waiting| waiting.id.as_str()).collect()
    }

    #[test]
    fn a_delivery_out_of_attempts_is_buried_once_another_passes() {
        let mut shelf = Shelf::default();
        shelf.park(waiting(&shelf, "poison", 5), true);
        shelf.park(waiting(&shelf, "fine", 1), false);
        assert_eq!(ids(&shelf.passed()), ["poison"]);
        assert_eq!(shelf.len(), 1);
        assert!(shelf.passed().is_empty());
    }

    #[test]
    fn when_the_receiver_is_down_nothing_is_buried_and_its_failures_do_not_count() {
        let mut shelf = Shelf::default();
        shelf.park(waiting(&shelf, "first", 2), false);
        shelf.passed();
        let mut unlucky = shelf.take(Timestamp::from_millis(1), false).expect("it is due");
        for _ in 0..3 {
            shelf.count(&mut unlucky.attempts);
        }
        assert_eq!(unlucky.attempts.count(), 5);
        shelf.park(unlucky, true);
        shelf.pardon(5, std::iter::empty());
        assert!(shelf.passed().is_empty());
        let pardoned = shelf.take(Timestamp::from_millis(1), false).expect("it still waits");
        assert_eq!(pardoned.attempts.count(), 2);
    }

    #[test]
    fn one_that_fails_in_outage_after_outage_is_buried_in_the_end() {
        let mut shelf = Shelf::default();
        let take = |shelf: &mut Shelf| shelf.take(Timestamp::from_millis(1), false);
        shelf.park(waiting(&shelf, "poison", 1), true);
        // However long the first outage lasts, nothing has passed yet.
        for _ in 0..9 {
            shelf.pardon(2, std::iter::empty());
        }
        for outage in 1..=3 {
            assert!(shelf.passed().is_empty(), "{outage}");
            let mut poison = take(&mut shelf).expect("it still waits");
            shelf.count(&mut poison.attempts);
            shelf.park(poison, true);
            for _ in 0..9 {
                shelf.pardon(2, std::iter::empty());
            }
        }
        assert_eq!(ids(&shelf.passed()), ["poison"]);
    }

    #[test]
    fn one_in_flight_is_pardoned_too() {
        let mut shelf = Shelf::default();
        let mut in_flight = waiting(&shelf, "in flight", 4).attempts;
        shelf.pardon(5, std::iter::once(&mut in_flight));
        assert_eq!(in_flight.count(), 0);
    }

    #[test]
    fn a_row_keeps_the_attempts_that_surely_count() {
        let mut shelf = Shelf::default();
        let mut failed = waiting(&shelf, "one", 2);
        assert_eq!(shelf.row(&failed).attempts, 0);
        shelf.passed();
        assert_eq!(shelf.row(&failed).attempts, 2);
        shelf.count(&mut failed.attempts);
        assert_eq!((failed.attempts.count(), shelf.row(&failed).attempts), (3, 2));
    }

    #[test]
    fn attempts_count_for_certain_once_another_has_passed() {
        let mut shelf = Shelf::default();
        let mut attempts = waiting(&shelf, "one", 2).attempts;
        assert_eq!((attempts.count(), shelf.certain(attempts)), (2, 0));
        shelf.passed();
        assert_eq!(shelf.certain(attempts), 2);
        shelf.count(&mut attempts);
        assert_eq!((attempts.count(), shelf.certain(attempts)), (3, 2));
    }

    #[test]
    fn a_probe_that_fails_in_outage_after_outage_makes_suspicious_too() {
        let mut shelf = Shelf::default();
        let mut attempts = Attempts::default();
        for _ in 0..3 {
            shelf.count_outage(&mut attempts);
            assert!(!attempts.is_doomed(2), "before the first success nobody knows");
        }
        for _ in 0..3 {
            assert!(!attempts.is_doomed(2));
            shelf.passed();
            shelf.count_outage(&mut attempts);
            shelf.count_outage(&mut attempts);
        }
        assert!(attempts.is_doomed(2));
    }

    #[test]
    fn a_delivery_is_taken_when_it_is_due_or_early_to_probe_with() {
        let mut shelf = Shelf::default();
        shelf.park(waiting(&shelf, "one", 1), false);
        assert!(shelf.take(Timestamp::from_millis(0), false).is_none());
        assert!(shelf.take(Timestamp::from_millis(0), true).is_some());
        assert_eq!(shelf.due_at(), None);
    }
}
