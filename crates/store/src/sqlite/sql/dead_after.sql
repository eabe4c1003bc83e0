-- Events behind a position that stand in a lane's dead letters. A range of the unique (lane, id),
-- read once when a lane begins.
SELECT e.value ->> 'event' AS event FROM dead_letters AS d, json_each(d.events) AS e
WHERE d.lane = :lane AND e.value ->> 'sequence' > :sequence;
