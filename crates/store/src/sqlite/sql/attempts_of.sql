-- The known attempts of a delivery, oldest first. By attempts_by_delivery.
SELECT
  number, attempt, delivery AS id, started_at, duration_ms, status, result, event_count,
  dns_ms, connect_ms, tls_ms, answer_ms, body_ms, address, answer_start, events
FROM attempts WHERE delivery = :id AND lane = :lane ORDER BY number;
