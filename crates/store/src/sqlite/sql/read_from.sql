-- The block that holds a sequence, and those after it. Walks the primary key.
SELECT first, last, position, length, data FROM blocks
WHERE first >= ifnull((SELECT max(first) FROM blocks WHERE first <= :sequence), 0)
ORDER BY first;
