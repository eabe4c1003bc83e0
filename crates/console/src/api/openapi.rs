//! The description of our own door, from the code that answers.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use super::{deliveries, destinations, events, replays, retries};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hookgate",
        description = "Destinations of events, what happened, and what became of it.",
    ),
    paths(
        destinations::list,
        destinations::create,
        destinations::read,
        destinations::update,
        destinations::delete,
        destinations::test,
        destinations::pause,
        destinations::resume,
        destinations::rotate_secret,
        destinations::preview,
        events::list,
        events::read,
        deliveries::list,
        deliveries::read,
        retries::retry,
        retries::retry_all,
        replays::list,
        replays::create,
        replays::read,
        replays::delete,
        replays::pause,
        replays::resume,
    ),
    tags(
        (name = "destinations", description = "Where events go"),
        (name = "events", description = "What happened"),
        (name = "deliveries", description = "What became of it at each destination"),
        (name = "replays", description = "Ranges of the journal once more"),
    ),
    modifiers(&MasterKey),
)]
struct Api;

/// The master key, on every route.
struct MasterKey;

impl Modify for MasterKey {
    fn modify(&self, document: &mut Document) {
        let mut key = Http::new(HttpAuthScheme::Bearer);
        key.description = Some(
            "The gateway's master key. A gateway without one serves its own machine only, and asks \
             for none."
                .to_owned(),
        );
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("master_key", SecurityScheme::Http(key));
        let nobody: [&str; 0] = [];
        document.security = Some(vec![
            SecurityRequirement::new("master_key", nobody),
            SecurityRequirement::default(),
        ]);
    }
}

/// The `OpenAPI` document of `/api/*`.
pub fn document() -> Document {
    Api::openapi()
}
