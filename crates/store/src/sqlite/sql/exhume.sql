-- Removes the dead letter that was just made due. By the unique (lane, id).
DELETE FROM dead_letters WHERE lane = :lane AND id = :id;
