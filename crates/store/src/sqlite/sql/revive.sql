-- Makes a dead letter due. By the unique (lane, id).
INSERT INTO parked (lane, id, events, attempts, due_at, reason)
SELECT lane, id, events, 0, :due_at, reason FROM dead_letters WHERE lane = :lane AND id = :id
ON CONFLICT (lane, id) DO UPDATE SET
  events = excluded.events,
  attempts = 0,
  due_at = excluded.due_at,
  reason = excluded.reason;
