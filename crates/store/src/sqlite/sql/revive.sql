-- Makes dead letters due: of a lane or all (NULL), one id or all (NULL). By the unique (lane, id)
-- where the lane is given.
INSERT INTO parked (lane, id, events, attempts, due_at, reason)
SELECT lane, id, events, 0, :due_at, reason FROM dead_letters
WHERE (:lane IS NULL OR lane = :lane) AND (:id IS NULL OR id = :id)
ON CONFLICT (lane, id) DO UPDATE SET
  events = excluded.events,
  attempts = 0,
  due_at = excluded.due_at,
  reason = excluded.reason;
