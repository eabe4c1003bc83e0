-- Dead letters that have no attempt that is still known, newest first. Walks the
-- primary key down from `:before`, and looks each one up in attempts_by_delivery.
SELECT w.number, w.lane, w.id, w.attempts, w.reason, NULL AS due_at, 'dead' AS state FROM dead_letters AS w
WHERE w.number < :before
  AND (:lane IS NULL OR w.lane = :lane)
  AND (:since IS NULL OR w.buried_at >= :since)
  AND (:until IS NULL OR w.buried_at < :until)
  AND (:event IS NULL OR w.id = :event
    OR EXISTS (SELECT 1 FROM json_each(w.events) AS e WHERE e.value ->> 'event' = :event))
  AND NOT EXISTS (
    SELECT 1 FROM attempts AS a WHERE a.delivery = w.id AND a.lane = w.lane)
ORDER BY w.number DESC LIMIT :limit;
