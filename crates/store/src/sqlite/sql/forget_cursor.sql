-- Forgets how far a lane has settled. By the primary key.
DELETE FROM cursors WHERE lane = :lane;
