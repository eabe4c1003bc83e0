-- When the newest block was committed. Reads the last row by the primary key.
SELECT committed_at FROM blocks ORDER BY first DESC LIMIT 1;
