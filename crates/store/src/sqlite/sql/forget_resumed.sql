-- Forgets when a destination was last resumed. By the primary key.
DELETE FROM resumed WHERE lane = :lane;
