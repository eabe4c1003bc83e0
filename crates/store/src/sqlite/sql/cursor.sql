-- How far a lane has settled. By the primary key.
SELECT sequence FROM cursors WHERE lane = :lane;
