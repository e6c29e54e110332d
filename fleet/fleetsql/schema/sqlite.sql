-- One row: which log this is, and the position of its last message.
CREATE TABLE IF NOT EXISTS svctoken_fleet_log (
  one    INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
  uuid   TEXT    NOT NULL,
  format INTEGER NOT NULL, -- the version of this schema
  readers INTEGER NOT NULL, -- the lowest version of the package that may still use it
  rev    INTEGER NOT NULL
)
--
-- The last message of each key.
CREATE TABLE IF NOT EXISTS svctoken_fleet_messages (
  key      TEXT    PRIMARY KEY,
  position INTEGER NOT NULL,
  value    BLOB    NOT NULL,
  deleted  INTEGER NOT NULL, -- 1: the key has no value any more
  id       TEXT    NOT NULL,
  expires  INTEGER           -- milliseconds since 1970
) WITHOUT ROWID
--
CREATE UNIQUE INDEX IF NOT EXISTS svctoken_fleet_messages_position ON svctoken_fleet_messages (position)
--
CREATE INDEX IF NOT EXISTS svctoken_fleet_messages_expires ON svctoken_fleet_messages (expires) WHERE expires IS NOT NULL
--
-- The last appends: by their ids one that is repeated is found, and by those of the
-- positions a copy of the log which went another way.
CREATE TABLE IF NOT EXISTS svctoken_fleet_appends (
  position INTEGER PRIMARY KEY,
  id       TEXT    NOT NULL UNIQUE,
  written  INTEGER NOT NULL -- milliseconds since 1970
)
--
-- What nodes have sent to one another, until it is read.
CREATE TABLE IF NOT EXISTS svctoken_fleet_sent (
  n       INTEGER PRIMARY KEY AUTOINCREMENT,
  address TEXT    NOT NULL,
  data    BLOB    NOT NULL,
  written INTEGER NOT NULL -- milliseconds since 1970
)
--
CREATE INDEX IF NOT EXISTS svctoken_fleet_sent_address ON svctoken_fleet_sent (address)
--
INSERT INTO svctoken_fleet_log (one, uuid, format, readers, rev) VALUES (1, lower(hex(randomblob(16))), 1, 1, 0) ON CONFLICT DO NOTHING
