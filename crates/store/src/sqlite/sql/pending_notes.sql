-- Notes that are not known to be in the journal, oldest first. Walks the primary key.
SELECT note FROM pending_notes ORDER BY number;
