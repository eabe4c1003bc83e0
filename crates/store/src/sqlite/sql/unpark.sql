-- Ends the waiting of a delivery. By the unique (lane, id).
DELETE FROM parked WHERE lane = :lane AND id = :id;
