-- Forgets a lane's dead letters. A range of the unique (lane, id).
DELETE FROM dead_letters WHERE lane = :lane;
