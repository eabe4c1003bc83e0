-- Dead letters that have no attempt that is still known, newest first. Walks the
-- primary key down from `:before`, and looks each one up in attempts_by_delivery.
SELECT w.number, w.lane, w.id, w.attempts, 0 AS made, w.reason, w.events AS kept_events,
  NULL AS due_at, 'dead' AS state FROM dead_letters AS w
WHERE w.number < :before
  AND (:lanes IS NULL OR w.lane IN (SELECT value FROM json_each(:lanes)))
  AND (:since IS NULL OR w.buried_at >= :since)
  AND (:until IS NULL OR w.buried_at < :until)
  AND (:reason IS NULL OR instr(lower(w.reason), lower(:reason)) > 0)
  AND (:event IS NULL OR w.id = :event
    OR EXISTS (SELECT 1 FROM json_each(w.events) AS e WHERE e.value ->> 'event' = :event))
  AND NOT EXISTS (
    SELECT 1 FROM attempts AS a WHERE a.delivery = w.id AND a.lane = w.lane)
ORDER BY w.number DESC LIMIT :limit;
