-- Keeps a note until it is seen in the journal. By the unique id.
INSERT OR IGNORE INTO pending_notes (id, note) VALUES (:id, :note);
