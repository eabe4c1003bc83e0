//! Which events a destination gets.
