-- Deliveries by their last attempts, newest first, and how they stand. Walks the primary key down
-- from `:before`; each row is looked up once in attempts_by_delivery, parked and dead_letters by
-- their unique indexes, cursors by its primary key. A selective condition walks all attempts, whose number is bounded.
SELECT
  a.number, a.lane, a.delivery AS id, a.attempt, a.started_at, a.duration_ms, a.status, a.result,
  a.event_count, a.dns_ms, a.connect_ms, a.tls_ms, a.answer_ms, a.body_ms, a.address,
  a.answer_start, a.events, coalesce(d.events, p.events) AS kept_events, p.due_at,
  coalesce(d.attempts, p.attempts, a.attempt) AS attempts,
  coalesce(d.reason, p.reason, a.result) AS reason,
  (SELECT count(*) FROM attempts AS made
    WHERE made.delivery = a.delivery AND made.lane = a.lane) AS made,
  CASE
    WHEN d.id IS NOT NULL THEN 'dead'
    WHEN p.id IS NOT NULL THEN 'waiting'
    WHEN a.result GLOB 'delivered*' THEN 'delivered'
    -- The text form of its events begins with the first one's sequence.
    WHEN CAST(a.events AS INTEGER) <= c.sequence THEN 'replaced'
    ELSE 'waiting'
  END AS state
FROM attempts AS a
LEFT JOIN parked AS p ON p.lane = a.lane AND p.id = a.delivery
LEFT JOIN dead_letters AS d ON d.lane = a.lane AND d.id = a.delivery
LEFT JOIN cursors AS c ON c.lane = a.lane
WHERE a.number < :before
  AND (:lanes IS NULL OR a.lane IN (SELECT value FROM json_each(:lanes)))
  AND (:since IS NULL OR a.started_at >= :since)
  AND (:until IS NULL OR a.started_at < :until)
  AND (:state IS NULL OR state = :state)
  AND (:status IS NULL OR a.status = :status)
  AND (:reason IS NULL OR instr(lower(coalesce(d.reason, p.reason, a.result)), lower(:reason)) > 0)
  AND (:event IS NULL OR a.delivery = :event OR carries(a.events, :event_at, :event)
    OR EXISTS (SELECT 1 FROM json_each(p.events) AS e WHERE e.value ->> 'event' = :event)
    OR EXISTS (SELECT 1 FROM json_each(d.events) AS e WHERE e.value ->> 'event' = :event))
  AND NOT EXISTS (
    SELECT 1 FROM attempts AS later
    WHERE later.delivery = a.delivery AND later.lane = a.lane AND later.number > a.number)
ORDER BY a.number DESC LIMIT :limit;
