-- Dead letters of one lane, or of all (NULL), oldest first. Walks the primary key.
SELECT lane, id, events, attempts, buried_at, reason FROM dead_letters
WHERE :lane IS NULL OR lane = :lane
ORDER BY number LIMIT :limit;
