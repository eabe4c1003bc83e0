-- Stores a sealed secret of a destination. By the primary key.
INSERT INTO destination_secrets (destination, position, slot, sealed)
VALUES (:destination, :position, :slot, :sealed);
