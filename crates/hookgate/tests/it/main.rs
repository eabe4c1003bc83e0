//! Journeys through the whole gateway: the real binary between a scripted provider and a scripted
//! receiver.

mod support;
mod world;

mod anthropic;
mod bad_input;
mod calls;
mod doors;
mod leaving;
mod mocks;
mod privacy;
mod routing;
mod stopping;
mod streams;
mod upstreams;
