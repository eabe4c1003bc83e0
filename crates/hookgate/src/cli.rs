//! The commands.

pub mod check;

pub mod dead_letters;
