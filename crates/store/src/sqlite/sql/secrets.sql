-- All sealed secrets, each destination's in order. Walks the primary key.
SELECT destination, position, slot, sealed FROM destination_secrets ORDER BY destination, position;
