-- Forgets a note that was seen in the journal. By the unique id.
DELETE FROM pending_notes WHERE id = :id;
