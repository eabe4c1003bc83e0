-- How a delivery stands that is dead, or else waits. Both by the unique (lane, id).
SELECT number, events, attempts, reason, NULL AS due_at, 'dead' AS state
FROM dead_letters WHERE lane = :lane AND id = :id
UNION ALL
SELECT number, events, attempts, reason, due_at, 'waiting' AS state
FROM parked WHERE lane = :lane AND id = :id
LIMIT 1;
