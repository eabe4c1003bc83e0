-- Ends the waiting of a delivery. By the primary key.
DELETE FROM parked WHERE lane = :lane AND id = :id;
