-- Remembers up to where the journal is counted. By the primary key.
INSERT OR REPLACE INTO spend_cursor (id, sequence) VALUES (1, :sequence);
