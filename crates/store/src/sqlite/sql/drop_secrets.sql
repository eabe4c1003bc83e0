-- Forgets a destination's secrets. A range of the primary key.
DELETE FROM destination_secrets WHERE destination = :destination;
