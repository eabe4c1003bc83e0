-- What was resumed, and when last; by name. Walks the primary key.
SELECT lane, at FROM resumed ORDER BY lane;
