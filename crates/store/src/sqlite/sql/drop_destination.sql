-- Forgets a destination. By the unique name.
DELETE FROM destinations WHERE name = :destination;
