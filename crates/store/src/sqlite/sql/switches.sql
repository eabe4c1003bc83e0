-- What is paused, by name. Walks the primary key.
SELECT lane, reason, since FROM switches ORDER BY lane;
