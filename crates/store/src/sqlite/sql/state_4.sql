-- Version 4: when destinations were last resumed.

-- A row for each that was paused and then resumed.
CREATE TABLE resumed (
  lane TEXT PRIMARY KEY,
  at INTEGER NOT NULL
) WITHOUT ROWID;
