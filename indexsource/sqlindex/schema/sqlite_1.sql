-- One row: which index this is, and how often it has changed.
CREATE TABLE svctoken_meta (
  one    INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
  uuid   TEXT    NOT NULL, -- the identity of the index
  format INTEGER NOT NULL, -- the version of this schema
  rev    INTEGER NOT NULL, -- goes up with every change
  swept  INTEGER NOT NULL  -- what was deleted up to this rev has no tombstone any more
)
--
-- A random mark for each rev: a copy of the index which went another way has others.
CREATE TABLE svctoken_revs (
  rev  INTEGER PRIMARY KEY,
  mark TEXT NOT NULL
)
--
CREATE TABLE svctoken_tokens (
  namespace TEXT    NOT NULL,
  service   TEXT    NOT NULL,
  name      TEXT    NOT NULL,
  created   INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER) * 1000), -- milliseconds since 1970
  creator   TEXT    NOT NULL DEFAULT '',
  enabled   INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
  hash      TEXT    NOT NULL, -- of the secret
  rev       INTEGER NOT NULL DEFAULT 0, -- at which the row last changed; triggers set it
  PRIMARY KEY (namespace, service, name)
) WITHOUT ROWID
--
CREATE INDEX svctoken_tokens_rev ON svctoken_tokens (rev)
--
-- Tokens that were deleted, or that have another name now.
CREATE TABLE svctoken_tombstones (
  namespace TEXT    NOT NULL,
  service   TEXT    NOT NULL,
  name      TEXT    NOT NULL,
  rev       INTEGER NOT NULL,
  PRIMARY KEY (namespace, service, name)
) WITHOUT ROWID
--
CREATE INDEX svctoken_tombstones_rev ON svctoken_tombstones (rev)
--
INSERT INTO svctoken_revs (rev, mark) VALUES (1, lower(hex(randomblob(16))))
--
INSERT INTO svctoken_meta (one, uuid, format, rev, swept) VALUES (1, lower(hex(randomblob(16))), 1, 1, 0)
