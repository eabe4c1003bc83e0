//! Turns providers' error answers into `Failure`s.
