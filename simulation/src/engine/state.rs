//! The model's `Destinations`, `Switches` and `Spending`.

use std::sync::Arc;

use domain::id::DestinationName;
use store::{
    journal::BoxFuture,
    lanes::LanesError,
    state::{
        Destinations, Disabled, Resumed, SpendStep, Spending, Spent, StoredDestination, Switches,
    },
};

use super::Engine;

impl Destinations for Engine {
    fn all(&self) -> BoxFuture<'_, Result<Vec<StoredDestination>, LanesError>> {
        self.ask(|disk| Ok(disk.destinations.clone()))
    }

    fn put(&self, destination: StoredDestination) -> BoxFuture<'_, Result<(), LanesError>> {
        self.ask(move |disk| {
            let others = disk.destinations.iter().filter(|other| other.name != destination.name);
            if others.into_iter().any(|other| other.id == destination.id) {
                return Err("the id is taken".into());
            }
            let of_name = |stored: &&mut StoredDestination| stored.name == destination.name;
            match disk.destinations.iter_mut().find(of_name) {
                Some(stored) => *stored = destination,
                None => disk.destinations.push(destination),
            }
            Ok(())
        })
    }

    fn remove(&self, name: &DestinationName) -> BoxFuture<'_, Result<bool, LanesError>> {
        let name = name.clone();
        self.ask(move |disk| {
            let before = disk.destinations.len();
            disk.destinations.retain(|stored| stored.name != name);
            disk.forget(&name);
            Ok(disk.destinations.len() < before)
        })
    }
}

impl Switches for Engine {
    fn disabled(&self) -> BoxFuture<'_, Result<Vec<Disabled>, LanesError>> {
        self.ask(|disk| {
            let switches = disk.switches.iter();
            Ok(switches.map(|(name, (why, since))| (name.clone(), why.clone(), *since)).collect())
        })
    }

    fn resumed(&self) -> BoxFuture<'_, Result<Vec<Resumed>, LanesError>> {
        self.ask(|disk| Ok(disk.resumed.clone().into_iter().collect()))
    }

    fn set(
        &self,
        name: &DestinationName,
        reason: Option<String>,
    ) -> BoxFuture<'_, Result<(), LanesError>> {
        let (name, clock) = (name.clone(), Arc::clone(&self.clock));
        self.ask(move |disk| {
            match reason {
                Some(reason) => {
                    let since = disk.switches.get(&name).map_or_else(|| clock.now(), |(_, at)| *at);
                    disk.switches.insert(name, (reason, since));
                }
                None => {
                    if disk.switches.remove(&name).is_some() {
                        disk.resumed.insert(name, clock.now());
                    }
                }
            }
            Ok(())
        })
    }
}

impl Spending for Engine {
    fn load(&self) -> BoxFuture<'_, Result<Spent, LanesError>> {
        self.ask(|disk| Ok(disk.spent.clone()))
    }

    fn advance(&self, step: SpendStep) -> BoxFuture<'_, Result<(), LanesError>> {
        self.ask(move |disk| {
            let SpendStep { cursor, rows, forgotten, pending, told } = step;
            let spent = &mut disk.spent;
            spent.cursor = Some(cursor);
            spent.rows.retain(|row| {
                !forgotten.contains(&row.key) && !rows.iter().any(|new| new.key == row.key)
            });
            spent.rows.extend(rows);
            spent.rows.sort_by(|one, other| one.key.cmp(&other.key));
            for note in pending {
                if !spent.pending.iter().any(|before| before.id == note.id) {
                    spent.pending.push(note);
                }
            }
            spent.pending.retain(|note| !told.contains(&note.id));
            Ok(())
        })
    }
}
