//! Journeys through the whole gateway: the real binary between a scripted provider and a scripted
//! receiver.

mod support;
mod world;

mod calls;
mod leaving;
mod routing;
mod streams;
mod upstreams;
