//! The way into a thread: many push, one takes all that is there.
//!
//! Taking everything at once is what makes groups: what comes while one group is worked on is the
//! next group, without a timer.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// A queue of jobs with a weight each. It refuses nothing by itself but what comes after closing.
pub(super) struct Queue<J> {
    state: Mutex<State<J>>,
    filled: Condvar,
    /// Changed under the lock, and read without it: each call asks for it.
    weight: AtomicUsize,
}

struct State<J> {
    jobs: Vec<J>,
    waiting: bool,
    urgent: bool,
    closed: bool,
}

impl<J> std::fmt::Debug for Queue<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("weight", &self.weight).finish_non_exhaustive()
    }
}

impl<J> Queue<J> {
    pub(super) const fn new() -> Self {
        let state = State { jobs: Vec::new(), waiting: false, urgent: false, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), weight: AtomicUsize::new(0) }
    }

    /// Adds a job, or gives it back if the queue is closed.
    pub(super) fn push(&self, job: J, weight: usize) -> Result<(), J> {
        let mut state = self.lock();
        if state.closed {
            return Err(job);
        }
        state.jobs.push(job);
        self.weight.fetch_add(weight, Ordering::Relaxed);
        self.wake(state);
        Ok(())
    }

    /// Adds a job that is taken with the next one that is pushed, or after `hurry`.
    pub(super) fn push_soon(&self, job: J, weight: usize) -> Result<(), J> {
        let mut state = self.lock();
        if state.closed {
            return Err(job);
        }
        state.jobs.push(job);
        self.weight.fetch_add(weight, Ordering::Relaxed);
        Ok(())
    }

    /// Lets what is there be taken now.
    pub(super) fn hurry(&self) {
        let state = self.lock();
        if !state.jobs.is_empty() {
            self.wake(state);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State<J>>) {
        state.urgent = true;
        // A futex call costs more than the rest of this function.
        if std::mem::take(&mut state.waiting) {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// The weight of what waits.
    pub(super) fn weight(&self) -> usize {
        self.weight.load(Ordering::Relaxed)
    }

    /// Moves all jobs into `jobs`, which must be empty. Waits for one that is in a hurry, but not
    /// longer than `patience`. Returns false once the queue is closed and empty.
    pub(super) fn take(&self, jobs: &mut Vec<J>, patience: Duration) -> bool {
        debug_assert!(jobs.is_empty());
        let mut state = self.lock();
        if !state.urgent && !state.closed {
            state.waiting = true;
            let waited = self
                .filled
                .wait_timeout_while(state, patience, |state| !state.urgent && !state.closed);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state.waiting = false;
        }
        state.urgent = false;
        std::mem::swap(&mut state.jobs, jobs);
        self.weight.store(0, Ordering::Relaxed);
        !(jobs.is_empty() && state.closed)
    }

    /// Moves what is there into `jobs`, without waiting.
    pub(super) fn drain_into(&self, jobs: &mut Vec<J>) {
        let mut state = self.lock();
        jobs.append(&mut state.jobs);
        self.weight.store(0, Ordering::Relaxed);
    }

    /// Refuses what comes from now on, and wakes the taker.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Closes the queue and drops what is in it when the taker ends, even by a panic: nobody waits
    /// for an answer that cannot come.
    pub(super) const fn close_on_drop(&self) -> CloseOnDrop<'_, J> {
        CloseOnDrop(self)
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        // Every critical section leaves the state whole, so a panic elsewhere does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The taker's hold on a queue.
#[derive(Debug)]
pub(super) struct CloseOnDrop<'a, J>(&'a Queue<J>);

impl<J> Drop for CloseOnDrop<'_, J> {
    fn drop(&mut self) {
        self.0.close();
        let mut jobs = Vec::new();
        self.0.drain_into(&mut jobs);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// So long that a test which waits it out is ended.
    const LONG: Duration = Duration::from_hours(1);

    type Wake = fn(&Queue<u8>);

    #[test]
    fn a_taker_sleeps_through_jobs_in_no_hurry_until_something_wakes_it() {
        let wakes: [(Wake, &[u8]); 3] = [
            (|queue| assert!(queue.push(2, 1).is_ok()), &[1, 2]),
            (|queue| queue.hurry(), &[1]),
            (|queue| queue.close(), &[1]),
        ];
        for (wake, expected) in wakes {
            let queue = Queue::new();
            thread::scope(|scope| {
                let taker = scope.spawn(|| {
                    let mut jobs = Vec::new();
                    assert!(queue.take(&mut jobs, LONG));
                    jobs
                });
                assert!(queue.push_soon(1, 1).is_ok());
                wake(&queue);
                assert_eq!(taker.join().unwrap(), expected);
            });
        }
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_then_ends() {
        let queue = Queue::new();
        assert!(queue.push(1, 5).is_ok());
        assert_eq!(queue.weight(), 5);
        queue.close();
        assert_eq!(queue.push(2, 1), Err(2));
        let mut jobs = Vec::new();
        assert!(queue.take(&mut jobs, LONG));
        assert_eq!((jobs.as_slice(), queue.weight()), (&[1][..], 0));
        jobs.clear();
        assert!(!queue.take(&mut jobs, LONG));
    }
}
