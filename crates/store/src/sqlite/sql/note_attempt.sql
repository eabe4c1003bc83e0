-- Remembers an attempt. Appends at the right edge of the primary key.
INSERT INTO attempts
  (lane, delivery, attempt, started_at, duration_ms, status, result, event_count,
   dns_ms, connect_ms, tls_ms, answer_ms, body_ms, address, answer_start, events)
VALUES
  (:lane, :delivery, :attempt, :started_at, :duration_ms, :status, :result, :event_count,
   :dns_ms, :connect_ms, :tls_ms, :answer_ms, :body_ms, :address, :answer_start, :events);
