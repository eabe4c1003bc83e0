//! Journeys through the whole gateway: the real binary between a scripted provider and a scripted
//! receiver.

mod support;
mod world;

mod anthropic;
mod bad_input;
mod calls;
mod config_formats;
mod delivery_backup;
mod delivery_batching;
mod delivery_choice;
mod delivery_crash;
mod delivery_disk;
mod delivery_letters;
mod delivery_memory;
mod delivery_outage;
mod delivery_retry;
mod delivery_signatures;
mod delivery_streaming;
mod delivery_trouble;
mod delivery_world;
mod docs;
mod doors;
mod leaving;
mod mocks;
mod overload;
mod privacy;
mod registry;
mod routing;
mod stopping;
mod streams;
mod upstreams;
