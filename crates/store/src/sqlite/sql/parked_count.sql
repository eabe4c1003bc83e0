-- How many deliveries of a lane wait. A range of the unique (lane, id).
SELECT count(*) FROM parked WHERE lane = :lane;
