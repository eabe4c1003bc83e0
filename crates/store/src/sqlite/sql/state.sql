-- What lanes remember. Sequences are the journal's; times are nanoseconds since the Unix epoch;
-- `events` is a JSON list of the events in a delivery: their sequences and ids.

CREATE TABLE cursors (
  lane TEXT PRIMARY KEY,
  sequence INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE parked (
  lane TEXT NOT NULL,
  id TEXT NOT NULL,
  events TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (lane, id)
) WITHOUT ROWID;

CREATE TABLE dead_letters (
  number INTEGER PRIMARY KEY,
  lane TEXT NOT NULL,
  id TEXT NOT NULL,
  events TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  buried_at INTEGER NOT NULL,
  reason TEXT NOT NULL,
  UNIQUE (lane, id)
);

-- For people: nothing is decided from these, and the oldest ones go.
CREATE TABLE attempts (
  number INTEGER PRIMARY KEY,
  lane TEXT NOT NULL,
  delivery TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  status INTEGER,
  result TEXT NOT NULL,
  event_count INTEGER NOT NULL
);
