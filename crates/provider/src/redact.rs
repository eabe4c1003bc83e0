//! Takes message texts out before the journal sees them.
