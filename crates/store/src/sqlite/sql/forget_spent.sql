-- Forgets a period that is over. By the primary key.
DELETE FROM spent
WHERE scope = :scope AND pattern = :pattern AND matched = :matched AND duration = :duration
  AND period_started_at = :period_started_at;
