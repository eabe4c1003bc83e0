-- Remembers how far a lane has settled. By the primary key.
INSERT INTO cursors (lane, sequence) VALUES (:lane, :sequence)
ON CONFLICT (lane) DO UPDATE SET sequence = excluded.sequence;
