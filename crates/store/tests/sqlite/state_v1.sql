PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE cursors (
  lane TEXT PRIMARY KEY,
  sequence INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO cursors VALUES('a',41);
CREATE TABLE parked (
  lane TEXT NOT NULL,
  id TEXT NOT NULL,
  events TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (lane, id)
) WITHOUT ROWID;
INSERT INTO parked VALUES('a','bat_1','[{"sequence":1,"event":"evt_01a1fd2c47a077078707070707070001_completion"}]',2,1795248900000000000,'status 503, attempt 2');
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
INSERT INTO dead_letters VALUES(1,'a','bat_2','[{"sequence":2,"event":"evt_01a1fd2c47a077078707070707070002_completion"}]',5,1795248900000000000,'status 400');
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
INSERT INTO attempts VALUES(1,'a','bat_1',1,1795248900000000000,12,NULL,'refused',1);
INSERT INTO attempts VALUES(2,'a','bat_2',1,1795248900000000000,12,NULL,'refused',1);
COMMIT;
