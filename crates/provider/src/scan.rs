//! Finds the few top-level fields of a request that the gateway acts on, without a DOM.
