-- Deletes attempts past retention, some at a time. Walks the primary key from its left edge.
DELETE FROM attempts
WHERE number IN (SELECT number FROM attempts ORDER BY number LIMIT 10000)
  AND started_at < :horizon;
