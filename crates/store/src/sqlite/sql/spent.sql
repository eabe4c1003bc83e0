-- What was spent, row by row. Walks the primary key.
SELECT scope, pattern, matched, duration, period_started_at, nanodollars, told FROM spent;
