-- The waiting deliveries of a lane, by due time. Finds them by the unique (lane, id) and sorts them.
SELECT id, events, attempts, due_at, reason FROM parked WHERE lane = :lane ORDER BY due_at, id;
