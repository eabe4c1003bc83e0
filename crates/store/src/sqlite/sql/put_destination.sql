-- Stores a destination, in place of the one of that name. By the unique name; the number stays.
INSERT INTO destinations (name, id, door, spec, enabled, created_at, updated_at)
VALUES (:name, :id, :door, :spec, :enabled, :created_at, :updated_at)
ON CONFLICT (name) DO UPDATE SET
  id = excluded.id,
  door = excluded.door,
  spec = excluded.spec,
  enabled = excluded.enabled,
  created_at = excluded.created_at,
  updated_at = excluded.updated_at;
