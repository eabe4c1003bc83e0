-- How many dead letters a lane has. A range of the unique (lane, id).
SELECT count(*) FROM dead_letters WHERE lane = :lane;
