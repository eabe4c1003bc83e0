//! The systems whose configurations are understood, each turned into our own types.

pub(crate) mod alerting;

pub(crate) mod budgets;

pub(crate) mod callbacks;

pub(crate) mod gateway;

pub(crate) mod keys;

pub(crate) mod models;

pub(crate) mod outbound;

pub(crate) mod own;

pub(crate) mod registry;

pub(crate) mod webhooks;
