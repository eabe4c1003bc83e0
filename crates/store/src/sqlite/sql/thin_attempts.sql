-- Keeps the newest attempts. A range of the primary key.
DELETE FROM attempts WHERE number <= (SELECT max(number) FROM attempts) - :attempts_max;
