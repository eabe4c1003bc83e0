-- One file of the journal: the entries from one sequence on, until the next file begins.

-- One row, written when the file becomes the live one. Without it the file never began.
CREATE TABLE period (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  -- The end of the journal at that time. Sequences between it and `first` were never given.
  head INTEGER NOT NULL,
  begun_at INTEGER NOT NULL
);

-- The calls that were open when the file began, so that a start needs no older file.
CREATE TABLE open_calls (
  sequence INTEGER PRIMARY KEY,
  frame BLOB NOT NULL
);

-- A block is the frames of the entries first..=last, committed together. They stand in `data`, or
-- in the file beside this one, at `position`. Times are nanoseconds since the Unix epoch.
CREATE TABLE blocks (
  first INTEGER PRIMARY KEY,
  last INTEGER NOT NULL,
  sealed INTEGER NOT NULL,
  committed_at INTEGER NOT NULL,
  position INTEGER NOT NULL,
  length INTEGER NOT NULL,
  data BLOB
);
