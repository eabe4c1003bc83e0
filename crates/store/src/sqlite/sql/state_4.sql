-- Version 4: when destinations were last resumed, and which ones are not there any more.

-- A row for each that was paused and then resumed.
CREATE TABLE resumed (
  lane TEXT PRIMARY KEY,
  at INTEGER NOT NULL
) WITHOUT ROWID;

-- Lanes that the last start found no destination for.
CREATE TABLE removed (
  lane TEXT PRIMARY KEY
) WITHOUT ROWID;
