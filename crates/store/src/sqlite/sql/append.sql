-- Makes a block part of the journal. Appends at the right edge of the primary key.
INSERT INTO blocks (first, last, sealed, committed_at, position, length, data)
VALUES (:first, :last, :sealed, :committed_at, :position, :length, :data);
