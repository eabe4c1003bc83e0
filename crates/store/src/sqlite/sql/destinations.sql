-- All destinations, oldest first. Walks the primary key.
SELECT name, id, door, spec, enabled, created_at, updated_at FROM destinations ORDER BY number;
