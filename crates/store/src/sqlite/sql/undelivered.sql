-- Outcomes in blocks wholly after a cursor. Walks the primary key from the cursor on.
SELECT ifnull(sum(sealed), 0) FROM blocks WHERE first > :cursor;
