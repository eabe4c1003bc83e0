-- Version 3: attempts say which events they carried, so that batches are found by them.

-- The text form of `domain::carried`; empty for attempts of older versions.
ALTER TABLE attempts ADD COLUMN events TEXT NOT NULL DEFAULT '';
