//! `CloudEvents` 1.0 around gateway events: structured mode, or a batch of them.
//!
//! `data` is what the `event` format writes, so this module decides about the envelope only:
//! `id` is the event's id, `type` the event's type behind `ai.hookgate.`, `subject` the request's
//! id or the destination's name, where there is one.
//!
//! Names and content types are those of the `CloudEvents` specification 1.0.2 and its JSON format.

use domain::{
    destination::{CloudEventsMode, Destination},
    event::{Detail, Event},
    note::News,
};

use super::{
    Item, Shape, event as plain,
    json::{Json, Value},
};
use crate::matching::matches;

/// Where events come from, as `source` names it.
const SOURCE: &str = "/hookgate";

/// What stands before an event's type.
const TYPE_PREFIX: &str = "ai.hookgate.";

/// The event in its envelope, if the destination wants it.
pub(super) fn items(event: &Event, destination: &Destination) -> Vec<Item> {
    if !matches(event.kind(), event, destination) {
        return Vec::new();
    }
    let mut json = Json::with_capacity(1_280);
    json.open();
    json.field("specversion", "1.0");
    json.field("id", event.id.as_str());
    json.field("source", SOURCE);
    json.field("type", Type(event.kind().as_str()));
    if let Some(subject) = subject(event) {
        json.field("subject", subject.as_str());
    }
    json.field("time", plain::moment(event.occurred_at).as_str());
    json.field("datacontenttype", "application/json");
    json.name("data");
    plain::write(&mut json, event, destination);
    json.close();
    let bytes = json.into_bytes().into();
    vec![Item { id: event.id.clone(), sequence: event.sequence, bytes }]
}

/// One event a body, or a list of them.
pub(super) fn shape(mode: CloudEventsMode) -> Shape {
    match mode {
        CloudEventsMode::Structured => Shape::single("application/cloudevents+json"),
        CloudEventsMode::Batch => {
            Shape::many(["[", ",", "]"], "application/cloudevents-batch+json")
        }
    }
}

/// What the event is about; a budget is of nobody in particular.
fn subject(event: &Event) -> Option<String> {
    if let Some(call) = event.call() {
        return Some(call.id.to_request_id());
    }
    let Detail::Noted(note) = &event.detail else { return None };
    match &note.news {
        News::BudgetReached(_) => None,
        News::DestinationDisabled { destination, .. }
        | News::DestinationRecovered { destination, .. }
        | News::DeliveryExhausted { destination, .. } => Some(destination.as_str().to_owned()),
    }
}

/// An event's type behind its prefix. Neither needs escapes.
struct Type(&'static str);

impl Value for Type {
    fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(TYPE_PREFIX.as_bytes());
        out.extend_from_slice(self.0.as_bytes());
        out.push(b'"');
    }
}
