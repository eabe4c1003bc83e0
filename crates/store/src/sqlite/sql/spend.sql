-- Stores what a value of a budget spent in a period. By the primary key.
INSERT OR REPLACE INTO spent
  (scope, pattern, matched, duration, period_started_at, nanodollars, told)
VALUES (:scope, :pattern, :matched, :duration, :period_started_at, :nanodollars, :told);
