-- Removes the dead letters that were just made due. The same conditions as in revive.sql.
DELETE FROM dead_letters
WHERE (:lane IS NULL OR lane = :lane) AND (:id IS NULL OR id = :id);
