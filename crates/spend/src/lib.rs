//! Journal to spending: counts what calls cost, and says when a budget is reached.
//!
//! Reads the journal by cursor and appends notes to it; `proxy` asks whether a call may still be
//! admitted. It knows no destination.
//!
//! Invariant: each outcome counts once, and each threshold is told once per period, whenever the
//! process is killed.

pub mod ledger;

mod counts;

mod period;

pub use ledger::Ledger;
