//! Which dead letters are meant. The filters have the names that the API gives them, and mean the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use delivery::replay;
use domain::{
    delivery::DeadLetter,
    id::{DeliveryId, DestinationName, EventId},
    time::Timestamp,
};
use hyper::Method;
use store::{
    lanes::{DeliveryQuery, DeliveryState, Lanes},
    sqlite::{Beside, open_beside},
};
use url::form_urlencoded::Serializer;

use super::super::api::Api;

/// Rows of one look at the state.
const PAGE: usize = 1_000;
/// Rows of a page of the API, which gives no more.
const API_PAGE: &str = "200";

/// Which dead letters are meant: those that meet all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Which {
    /// Only those of this destination, also of its replays; or of the replay of this id
    #[arg(long, value_name = "NAME", global = true)]
    pub destination: Option<String>,
    /// Only those that carry the event of this id
    #[arg(long, value_name = "ID", global = true)]
    pub event: Option<String>,
    /// Only those that carry an event of this type; asks the running gateway
    #[arg(long = "type", value_name = "TYPE", global = true)]
    pub kind: Option<String>,
    /// Only those that carry an event of a call of this model, a glob; asks the running gateway
    #[arg(long, value_name = "GLOB", global = true)]
    pub model: Option<String>,
    /// Only those that carry an event of a call by the key of this name, a glob; asks the running
    /// gateway
    #[arg(long, value_name = "GLOB", global = true)]
    pub key: Option<String>,
    /// Only those whose last attempt was answered with this status
    #[arg(long, value_name = "STATUS", global = true,
        value_parser = clap::value_parser!(u16).range(100..=599))]
    pub status: Option<u16>,
    /// Only those whose reason holds this text, in upper or lower case
    #[arg(long, value_name = "TEXT", global = true)]
    pub reason: Option<String>,
    /// Only those last attempted at this time or later, as 2026-11-21T10:30:00Z
    #[arg(long, value_name = "TIME", global = true, value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only those last attempted before this time
    #[arg(long, value_name = "TIME", global = true, value_parser = time)]
    pub until: Option<Timestamp>,
}

impl Which {
    /// Whether it says more than whose.
    pub(super) fn is_narrow(&self) -> bool {
        *self != Self { destination: self.destination.clone(), ..Self::default() }
    }

    /// Whether only the journal can tell.
    fn needs_journal(&self) -> bool {
        self.kind.is_some() || self.model.is_some() || self.key.is_some()
    }

    /// As the API takes it.
    fn query(&self) -> String {
        let time = |time: Timestamp| time.to_string();
        let mut query = Serializer::new(String::new());
        query.append_pair("state", DeliveryState::Dead.as_str()).append_pair("limit", API_PAGE);
        for (name, value) in [
            ("destination", self.destination.clone()),
            ("event", self.event.clone()),
            ("type", self.kind.clone()),
            ("model", self.model.clone()),
            ("key", self.key.clone()),
            ("status", self.status.map(|status| status.to_string())),
            ("reason", self.reason.clone()),
            ("since", self.since.map(time)),
            ("until", self.until.map(time)),
        ] {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        query.finish()
    }
}

/// The dead letters of a data directory.
pub(super) struct Letters {
    pub(super) lanes: Arc<dyn Lanes>,
    /// The replays, and to which destinations they are.
    replays: BTreeMap<DestinationName, DestinationName>,
    /// Destinations that the gateway's last start did not find.
    removed: BTreeSet<DestinationName>,
    gateway: Api,
}

impl Letters {
    pub(super) async fn open(data_dir: &Path, gateway: Api) -> anyhow::Result<Self> {
        let Beside { lanes, destinations } = open_beside(data_dir)?;
        let removed = lanes.removed().await?.into_iter().collect();
        let replays = destinations.into_iter().filter_map(|stored| {
            let of = replay::destination_of(&stored)?;
            Some((stored.name, of))
        });
        Ok(Self { lanes, replays: replays.collect(), removed, gateway })
    }

    /// The destination that a lane works for, if that is not there any more.
    pub(super) fn gone<'a>(&'a self, lane: &'a DestinationName) -> Option<&'a DestinationName> {
        let destination = self.replays.get(lane).unwrap_or(lane);
        self.removed.contains(destination).then_some(destination)
    }

    /// Those that are meant, oldest first; `limit` of them at most.
    pub(super) async fn find(
        &self,
        which: &Which,
        limit: usize,
    ) -> anyhow::Result<Vec<DeadLetter>> {
        if *which == Which::default() {
            return Ok(self.lanes.dead_letters(None, limit).await?);
        }
        let chosen = if which.needs_journal() {
            self.chosen_by_gateway(which).await?
        } else {
            self.chosen_by_rows(which).await?
        };
        let mut letters = self.lanes.dead_letters(None, usize::MAX).await?;
        letters.retain(|letter| {
            chosen.get(&letter.destination).is_some_and(|ids| ids.contains(&letter.id))
        });
        letters.truncate(limit);
        Ok(letters)
    }

    async fn chosen_by_rows(&self, which: &Which) -> anyhow::Result<Chosen> {
        let lanes = which.destination.as_deref().map(|name| self.lanes_of(name));
        let mut query = DeliveryQuery {
            lanes: lanes.unwrap_or_default(),
            state: Some(DeliveryState::Dead),
            event: which.event.as_deref().map(EventId::from_stored),
            status: which.status,
            reason: which.reason.clone(),
            since: which.since,
            until: which.until,
            limit: PAGE,
            ..DeliveryQuery::default()
        };
        let mut chosen = Chosen::new();
        loop {
            let page = self.lanes.deliveries(query.clone()).await?;
            query.before = page.last().map(|row| row.number);
            let is_last = page.len() < PAGE;
            for row in page {
                chosen.entry(row.destination).or_default().insert(row.id);
            }
            if is_last {
                return Ok(chosen);
            }
        }
    }

    async fn chosen_by_gateway(&self, which: &Which) -> anyhow::Result<Chosen> {
        let query = which.query();
        let (mut chosen, mut cursor) = (Chosen::new(), String::new());
        loop {
            let path = format!("/api/deliveries?{query}{cursor}");
            let page = self.gateway.ask(Method::GET, &path, None).await?;
            for row in page["data"].as_array().into_iter().flatten() {
                let lane = row["replay"].as_str().or_else(|| row["destination"].as_str());
                if let (Some(lane), Some(id)) = (lane, row["id"].as_str()) {
                    let ids = chosen.entry(DestinationName::new(lane)).or_default();
                    ids.insert(DeliveryId::new(id));
                }
            }
            let Some(next) = page["next"].as_str() else { return Ok(chosen) };
            cursor = format!("&cursor={next}");
        }
    }

    /// A destination's own lane and those of its replays; or a replay's.
    fn lanes_of(&self, name: &str) -> Vec<DestinationName> {
        let name = DestinationName::new(name);
        let replays = self.replays.iter().filter(|(_, of)| **of == name).map(|(id, _)| id.clone());
        std::iter::once(name.clone()).chain(replays).collect()
    }
}

/// Ids of dead letters, by their lanes.
type Chosen = BTreeMap<DestinationName, BTreeSet<DeliveryId>>;

/// RFC 3339, or seconds since 1970.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(secs) = text.parse::<i64>() {
        return Ok(Timestamp::from_millis(secs.saturating_mul(1_000)));
    }
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "must be a time such as 2026-11-21T10:30:00Z".to_owned())?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}
