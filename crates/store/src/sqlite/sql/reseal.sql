-- Puts a secret that is sealed anew in the old one's place. By the primary key.
UPDATE destination_secrets SET sealed = :sealed
WHERE destination = :destination AND position = :position;
