//! A destination made through a door, between what the store keeps and what runs.
//!
//! Invariant: the stored text holds no secret; those are in the store's sealed slots.

use domain::{destination::Destination, id::DestinationName, secret::Secret, time::Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::state::StoredDestination;

use crate::{
    policy::Policy,
    problem::FieldProblem,
    spec::{DestinationSpec, check},
};

/// The slot of the secret in force.
const SECRET: &str = "secret";
/// The slot of the secret before it, during a rotation's overlap.
const PREVIOUS: &str = "previous";
/// The slot of the key of the certificate that the gateway shows.
const CLIENT_KEY: &str = "client_key";
/// What begins the slot of a header's value.
const HEADER: &str = "header:";

/// Which door made a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Our own.
    Api,
    /// Helicone's.
    Helicone,
    /// `OpenRouter`'s.
    OpenRouter,
}

impl Door {
    /// As it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Helicone => "helicone",
            Self::OpenRouter => "openrouter",
        }
    }

    fn from_stored(text: &str) -> Option<Self> {
        [Self::Api, Self::Helicone, Self::OpenRouter].into_iter().find(|door| door.as_str() == text)
    }
}

/// A destination made through a door.
#[derive(Clone)]
pub(crate) struct Record {
    /// Its name, which is its lane's and stands in `spec` too.
    pub(crate) name: DestinationName,
    /// What its door calls it.
    pub(crate) id: String,
    pub(crate) door: Door,
    /// What was asked for, with headers' values, without the signing secret.
    pub(crate) spec: DestinationSpec,
    pub(crate) secret: Option<Secret>,
    /// The secret before, and until when it signs too.
    pub(crate) previous: Option<(Secret, Timestamp)>,
    /// What its door alone understands.
    pub(crate) own: Value,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// The stored text.
#[derive(Serialize, Deserialize)]
struct Document {
    destination: DestinationSpec,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    own: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_until: Option<Timestamp>,
}

/// Why a stored destination is not one that this version can read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Another version made it, through a door that this one does not have.
    #[error("door `{0}` is not known")]
    Door(String),
    /// Another version wrote its settings.
    #[error("its settings are not of this version")]
    Document(#[source] serde_json::Error),
}

impl Record {
    pub(crate) fn from_stored(stored: StoredDestination) -> Result<Self, RecordError> {
        let Some(door) = Door::from_stored(&stored.door) else {
            return Err(RecordError::Door(stored.door));
        };
        let document: Document =
            serde_json::from_str(&stored.spec).map_err(RecordError::Document)?;
        let Document { destination: mut spec, own, previous_until } = document;
        let slot = |wanted: &str| {
            stored.secrets.iter().find(|(slot, _)| slot == wanted).map(|(_, secret)| secret.clone())
        };
        for (name, value) in spec.headers.iter_mut().flatten() {
            if let Some(secret) = slot(&format!("{HEADER}{name}")) {
                secret.expose().clone_into(value);
            }
        }
        if let Some(tls) = &mut spec.tls {
            tls.client_key = slot(CLIENT_KEY).map(|key| key.expose().to_owned());
        }
        spec.enabled = Some(stored.enabled);
        Ok(Self {
            id: stored.id,
            door,
            spec,
            secret: slot(SECRET),
            previous: slot(PREVIOUS).zip(previous_until),
            own,
            name: stored.name,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        })
    }

    pub(crate) fn to_stored(&self) -> StoredDestination {
        let mut spec = self.spec.clone();
        let mut secrets = Vec::new();
        secrets.extend(self.secret.clone().map(|secret| (SECRET.to_owned(), secret)));
        secrets.extend(self.previous.clone().map(|(secret, _)| (PREVIOUS.to_owned(), secret)));
        for (name, value) in spec.headers.iter_mut().flatten() {
            secrets.push((format!("{HEADER}{name}"), Secret::new(&std::mem::take(value))));
        }
        let client_key = spec.tls.as_mut().and_then(|tls| tls.client_key.take());
        secrets.extend(client_key.map(|key| (CLIENT_KEY.to_owned(), Secret::new(&key))));
        spec.secret = None;
        let document = Document {
            destination: spec,
            own: self.own.clone(),
            previous_until: self.previous.as_ref().map(|(_, until)| *until),
        };
        StoredDestination {
            name: self.name.clone(),
            id: self.id.clone(),
            door: self.door.as_str().to_owned(),
            spec: serde_json::to_string(&document).expect("plain values are JSON"),
            secrets,
            enabled: self.is_enabled(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    /// Whether it is sent to at all.
    pub(crate) fn is_enabled(&self) -> bool {
        self.spec.enabled.unwrap_or(true)
    }

    /// The destination as it is in force `now`, or why there is none.
    pub(crate) fn destination(
        &self,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Destination, Vec<FieldProblem>> {
        let mut secrets: Vec<_> = self.secret.iter().cloned().collect();
        secrets
            .extend(self.previous.iter().filter(|(_, until)| now < *until).map(|(s, _)| s.clone()));
        check::check(&self.spec, &secrets, policy)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::spec::TlsSpec;

    #[test]
    fn a_record_comes_back_whole_and_its_stored_text_holds_no_secret() {
        let headers = BTreeMap::from([("X-Token".to_owned(), "canary-header".to_owned())]);
        let record = Record {
            name: DestinationName::new("audit"),
            id: "1".to_owned(),
            door: Door::Api,
            spec: DestinationSpec {
                name: Some("audit".to_owned()),
                url: Some("https://receiver.example/".to_owned()),
                headers: Some(headers),
                tls: Some(TlsSpec {
                    client_certificate: Some("public".to_owned()),
                    client_key: Some("canary-key".to_owned()),
                    ..TlsSpec::default()
                }),
                enabled: Some(false),
                ..DestinationSpec::default()
            },
            secret: Some(Secret::new("canary-secret")),
            previous: Some((Secret::new("canary-old"), Timestamp::from_millis(5))),
            own: serde_json::json!({"label": "x"}),
            created_at: Timestamp::from_millis(1),
            updated_at: Timestamp::from_millis(2),
        };
        let stored = record.to_stored();
        assert!(!stored.spec.contains("canary"), "{}", stored.spec);
        assert!(!stored.enabled);
        let back = Record::from_stored(stored.clone()).unwrap();
        assert_eq!(back.to_stored(), stored);
        assert_eq!(back.spec.headers.unwrap()["X-Token"], "canary-header");
        assert_eq!(back.spec.tls.unwrap().client_key.unwrap(), "canary-key");
        assert_eq!(back.previous.unwrap().1, Timestamp::from_millis(5));
    }
}
