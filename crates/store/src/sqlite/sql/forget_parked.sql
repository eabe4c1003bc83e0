-- Forgets a lane's waiting deliveries. A range of the unique (lane, id).
DELETE FROM parked WHERE lane = :lane;
