-- Version 2: destinations made through doors, switches, spending; attempts that say more; and
-- deliveries that can be listed.

-- `id` is what the door shows. The newest has the largest number.
CREATE TABLE destinations (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  id TEXT NOT NULL UNIQUE,
  door TEXT NOT NULL,
  spec TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);

-- Sealed by the vault: a nonce, then the encrypted text. `position` keeps their order.
CREATE TABLE destination_secrets (
  destination TEXT NOT NULL,
  position INTEGER NOT NULL,
  slot TEXT NOT NULL,
  sealed BLOB NOT NULL,
  PRIMARY KEY (destination, position)
) WITHOUT ROWID;

-- Destinations that are paused, wherever they were made.
CREATE TABLE switches (
  lane TEXT PRIMARY KEY,
  reason TEXT NOT NULL,
  since INTEGER NOT NULL
) WITHOUT ROWID;

-- What a value of a budget spent in a period. `told` is a JSON list of thresholds.
CREATE TABLE spent (
  scope TEXT NOT NULL,
  pattern TEXT NOT NULL,
  matched TEXT NOT NULL,
  duration TEXT NOT NULL,
  period_started_at INTEGER NOT NULL,
  nanodollars INTEGER NOT NULL,
  told TEXT NOT NULL,
  PRIMARY KEY (scope, pattern, matched, duration, period_started_at)
) WITHOUT ROWID;

-- Up to where the journal is counted: one row, or none before the first step.
CREATE TABLE spend_cursor (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  sequence INTEGER NOT NULL
);

-- Notes that are not known to be in the journal yet, as JSON.
CREATE TABLE pending_notes (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  note TEXT NOT NULL
);

ALTER TABLE attempts ADD COLUMN dns_ms INTEGER;
ALTER TABLE attempts ADD COLUMN connect_ms INTEGER;
ALTER TABLE attempts ADD COLUMN tls_ms INTEGER;
ALTER TABLE attempts ADD COLUMN answer_ms INTEGER;
ALTER TABLE attempts ADD COLUMN body_ms INTEGER;
ALTER TABLE attempts ADD COLUMN address TEXT;
ALTER TABLE attempts ADD COLUMN answer_start TEXT NOT NULL DEFAULT '';

-- Finds a delivery's attempts, the last one first. Ids of events sort by time, so this mostly
-- appends at its right edge.
CREATE INDEX attempts_by_delivery ON attempts (delivery, lane);

-- Parked deliveries get a number, so that lists of them have pages.
CREATE TABLE numbered_parked (
  number INTEGER PRIMARY KEY,
  lane TEXT NOT NULL,
  id TEXT NOT NULL,
  events TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  reason TEXT NOT NULL,
  UNIQUE (lane, id)
);
INSERT INTO numbered_parked (lane, id, events, attempts, due_at, reason)
SELECT lane, id, events, attempts, due_at, reason FROM parked ORDER BY due_at;
DROP TABLE parked;
ALTER TABLE numbered_parked RENAME TO parked;
