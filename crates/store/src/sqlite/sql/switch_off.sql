-- Pauses a destination; paused again, only the reason changes. By the primary key.
INSERT INTO switches (lane, reason, since) VALUES (:lane, :reason, :since)
ON CONFLICT (lane) DO UPDATE SET reason = excluded.reason;
