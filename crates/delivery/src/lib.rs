//! delivery

pub mod send;
