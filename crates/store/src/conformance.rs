//! What every engine must show, whatever it is made of.
//!
//! An engine's tests implement [`Engine`] and call [`conformance_tests!`](crate::conformance_tests),
//! which makes a test of each case. The suite knows the traits and nothing else: no file, no
//! table, no timing.

#![expect(missing_docs, reason = "a case is named by the sentence that it shows")]

pub mod journal;

pub mod lanes;

pub mod deliveries;

pub mod state;

pub mod sample;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use domain::time::{Clock, Timestamp};

use crate::{
    journal::Journal,
    lanes::Lanes,
    state::{Destinations, Spending, Switches},
};

/// An engine under test, with a place of its own to store things.
pub trait Engine {
    /// Opens the store, after closing it if it was open. Time comes from `clock`.
    fn open(&mut self, clock: Arc<HandClock>) -> Opened;

    /// Ends the process in which the store is open, as `kill -9` would: nothing is flushed.
    fn crash(&mut self);

    /// Closes the store in order.
    fn close(&mut self);
}

/// An open store.
pub struct Opened {
    /// Its journal.
    pub journal: Arc<dyn Journal>,
    /// Its lanes' state.
    pub lanes: Arc<dyn Lanes>,
    /// Its destinations.
    pub destinations: Arc<dyn Destinations>,
    /// Its switches.
    pub switches: Arc<dyn Switches>,
    /// What was spent.
    pub spending: Arc<dyn Spending>,
}

/// A clock that stands until it is moved.
#[derive(Debug)]
pub struct HandClock(AtomicI64);

impl HandClock {
    /// A clock that stands at a time.
    pub const fn at(time: Timestamp) -> Self {
        Self(AtomicI64::new(time.as_nanos()))
    }

    /// Moves it.
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.as_nanos(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

/// Makes a test of each case. Takes an expression that makes a fresh engine.
#[macro_export]
macro_rules! conformance_tests {
    ($engine:expr) => {
        $crate::conformance_tests!(@module journal, $engine, [
            sequences_are_consecutive_from_1,
            a_record_is_queued_whether_its_commit_is_polled_or_not,
            a_record_in_no_hurry_is_committed_before_the_next_one,
            a_record_in_no_hurry_is_committed_when_someone_hurries_or_closes,
            what_is_read_is_what_was_appended,
            a_read_stops_at_its_limit_and_the_next_goes_on,
            a_read_gives_at_least_one_entry_however_large,
            the_head_follows_the_commits,
            what_was_acknowledged_survives_a_crash,
            a_call_takes_one_outcome,
            a_record_that_does_not_fit_leaves_the_others_alone,
            a_note_is_of_no_call_and_survives_a_crash,
            open_calls_of_an_earlier_process_are_unsettled_until_they_are_sealed,
            a_closed_journal_says_so,
        ]);
        $crate::conformance_tests!(@module lanes, $engine, [
            a_lane_that_never_ran_has_no_cursor,
            a_settlement_is_stored_whole_and_survives_a_crash,
            parked_deliveries_come_back_by_due_time,
            the_newest_parking_of_a_delivery_wins,
            a_buried_delivery_stays_and_no_longer_waits,
            a_revived_dead_letter_is_due_at_once_with_no_attempt_counted,
            named_dead_letters_are_revived_and_the_others_stay,
            no_more_dead_letters_are_revived_than_may_wait,
            dead_letters_are_listed_oldest_first_up_to_a_limit,
            dead_letters_behind_the_cursor_are_known_by_their_events,
            lanes_do_not_see_each_other,
            a_forgotten_lane_never_ran,
            lanes_without_a_destination_are_marked_until_that_is_over,
            a_closed_state_says_so,
        ]);
        $crate::conformance_tests!(@module deliveries, $engine, [
            each_delivery_is_listed_once_by_its_last_attempt,
            deliveries_come_in_pages_without_a_gap,
            deliveries_are_found_by_destination_state_event_and_time,
            a_batch_that_was_delivered_is_found_by_each_event_that_it_carried,
            attempts_that_count_differ_from_those_that_were_made,
            what_failed_and_was_settled_otherwise_does_not_wait,
            what_has_no_attempt_is_listed_after_what_has_one,
            a_delivery_is_shown_with_its_attempts_and_events,
        ]);
        $crate::conformance_tests!(@module state, $engine, [
            a_destination_comes_back_with_its_secrets_in_order,
            a_destination_takes_the_place_of_the_one_of_its_name,
            a_removed_destination_takes_all_of_its_lane_along,
            a_switch_stays_until_it_is_set_back,
            when_a_destination_was_last_resumed_is_known,
            spending_advances_in_one_step,
            no_sequence_is_given_again_that_was_counted,
        ]);
    };
    (@module $module:ident, $engine:expr, [$($case:ident,)*]) => {
        mod $module {
            #[allow(unused_imports, reason = "the expression may name what stands beside it")]
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    $crate::conformance::$module::$case(&mut $engine).await;
                }
            )*
        }
    };
}
