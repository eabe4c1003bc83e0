//! The model's `Lanes`.

use std::sync::Arc;

use domain::{
    delivery::{DeadLetter, Parked},
    id::{DeliveryId, DestinationName, EventId},
    record::Sequence,
};
use store::{
    journal::BoxFuture,
    lanes::{DeliveryDetail, DeliveryQuery, DeliveryRow, Lanes, LanesError, Settlement},
};
use tokio::sync::watch;

use super::{Engine, pages, subscribe};

impl Lanes for Engine {
    fn cursor(
        &self,
        lane: &DestinationName,
    ) -> BoxFuture<'_, Result<Option<Sequence>, LanesError>> {
        let (lane, witness) = (lane.clone(), Arc::clone(&self.witness));
        self.ask(move |disk| {
            witness.opened(&lane, disk);
            Ok(disk.lanes.get(&lane).and_then(|rows| rows.cursor))
        })
    }

    fn settle(
        &self,
        lane: &DestinationName,
        settlement: Settlement,
    ) -> BoxFuture<'_, Result<(), LanesError>> {
        let (lane, witness) = (lane.clone(), Arc::clone(&self.witness));
        self.ask(move |disk| {
            let replaced = disk.settle(&lane, &settlement);
            witness.settled(&lane, &settlement, &replaced, disk);
            Ok(())
        })
    }

    fn parked(&self, lane: &DestinationName) -> BoxFuture<'_, Result<Vec<Parked>, LanesError>> {
        let lane = lane.clone();
        self.ask(move |disk| {
            let rows = disk.lanes.get(&lane).into_iter().flat_map(|rows| rows.parked.values());
            let mut parked: Vec<_> = rows.map(|(_, row)| row.clone()).collect();
            parked.sort_by_key(|row| row.due_at);
            Ok(parked)
        })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        subscribe(&self.changes, 0)
    }

    fn dead_letters(
        &self,
        lane: Option<&DestinationName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, LanesError>> {
        let lane = lane.cloned();
        self.ask(move |disk| {
            let lanes =
                disk.lanes.iter().filter(|(name, _)| lane.as_ref().is_none_or(|l| l == *name));
            let mut letters: Vec<_> = lanes.flat_map(|(_, rows)| &rows.dead).collect();
            letters.sort_by_key(|(number, _)| *number);
            Ok(letters.into_iter().take(limit).map(|(_, letter)| letter.clone()).collect())
        })
    }

    fn revive(
        &self,
        lane: &DestinationName,
        ids: Option<&[DeliveryId]>,
    ) -> BoxFuture<'_, Result<usize, LanesError>> {
        let (lane, ids) = (lane.clone(), ids.map(<[_]>::to_vec));
        let (clock, witness) = (Arc::clone(&self.clock), Arc::clone(&self.witness));
        self.ask(move |disk| {
            let revived = disk.revive(&lane, ids.as_deref(), clock.now());
            for id in &revived {
                witness.revived(&lane, id);
            }
            Ok(revived.len())
        })
    }

    fn deliveries(
        &self,
        query: DeliveryQuery,
    ) -> BoxFuture<'_, Result<Vec<DeliveryRow>, LanesError>> {
        self.ask(move |disk| Ok(pages::list(disk, &query)))
    }

    fn delivery(
        &self,
        lane: &DestinationName,
        id: &DeliveryId,
    ) -> BoxFuture<'_, Result<Option<DeliveryDetail>, LanesError>> {
        let (lane, id) = (lane.clone(), id.clone());
        self.ask(move |disk| Ok(pages::detail(disk, &lane, &id)))
    }

    fn dead_after(
        &self,
        lane: &DestinationName,
        cursor: Sequence,
    ) -> BoxFuture<'_, Result<Vec<EventId>, LanesError>> {
        let lane = lane.clone();
        self.ask(move |disk| {
            let dead = disk.lanes.get(&lane).into_iter().flat_map(|rows| &rows.dead);
            let events = dead.flat_map(|(_, letter)| &letter.events);
            let behind = events.filter(|event| event.sequence > cursor);
            Ok(behind.map(|event| event.event.clone()).collect())
        })
    }

    fn dead_count(&self, lane: &DestinationName) -> BoxFuture<'_, Result<u64, LanesError>> {
        let lane = lane.clone();
        self.ask(move |disk| Ok(disk.lanes.get(&lane).map_or(0, |rows| rows.dead.len() as u64)))
    }

    fn cursors(&self) -> BoxFuture<'_, Result<Vec<(DestinationName, Sequence)>, LanesError>> {
        self.ask(|disk| {
            let cursors = disk.lanes.iter().filter_map(|(name, rows)| {
                let cursor = rows.cursor?;
                Some((name.clone(), cursor))
            });
            Ok(cursors.collect())
        })
    }

    fn mark_removed(&self, lanes: &[DestinationName]) -> BoxFuture<'_, Result<(), LanesError>> {
        let lanes = lanes.iter().cloned().collect();
        self.ask(move |disk| {
            disk.removed = lanes;
            Ok(())
        })
    }

    fn removed(&self) -> BoxFuture<'_, Result<Vec<DestinationName>, LanesError>> {
        self.ask(|disk| Ok(disk.removed.iter().cloned().collect()))
    }

    fn forget(&self, lane: &DestinationName) -> BoxFuture<'_, Result<(), LanesError>> {
        let lane = lane.clone();
        self.ask(move |disk| {
            disk.forget(&lane);
            Ok(())
        })
    }
}
