-- Keeps a delivery that was given up; given up again, it is the newest. By the unique (lane, id).
INSERT OR REPLACE INTO dead_letters (lane, id, events, attempts, buried_at, reason)
VALUES (:lane, :id, :events, :attempts, :buried_at, :reason);
