-- Lets a delivery wait, or changes its waiting. By the unique (lane, id).
INSERT INTO parked (lane, id, events, attempts, due_at, reason)
VALUES (:lane, :id, :events, :attempts, :due_at, :reason)
ON CONFLICT (lane, id) DO UPDATE SET
  events = excluded.events,
  attempts = excluded.attempts,
  due_at = excluded.due_at,
  reason = excluded.reason;
