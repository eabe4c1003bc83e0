-- Forgets a lane's attempts. Walks all of them: it is rare, and their number is bounded.
DELETE FROM attempts WHERE lane = :lane;
