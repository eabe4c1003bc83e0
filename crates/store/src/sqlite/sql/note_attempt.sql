-- Remembers an attempt. Appends at the right edge of the primary key.
INSERT INTO attempts
  (lane, delivery, attempt, started_at, duration_ms, status, result, event_count)
VALUES
  (:lane, :delivery, :attempt, :started_at, :duration_ms, :status, :result, :event_count);
