-- One row: which index this is, and how often it has changed.
CREATE TABLE svctoken_meta (
  one    INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
  uuid   TEXT    NOT NULL, -- the identity of the index
  format INTEGER NOT NULL, -- the version of this schema
  rev    BIGINT  NOT NULL, -- goes up with every change
  swept  BIGINT  NOT NULL  -- what was deleted up to this rev has no tombstone any more
)
--
-- A random mark for each rev: a copy of the index which went another way has others.
CREATE TABLE svctoken_revs (
  rev  BIGINT PRIMARY KEY,
  mark TEXT NOT NULL
)
--
CREATE TABLE svctoken_tokens (
  namespace TEXT    COLLATE "C" NOT NULL,
  service   TEXT    COLLATE "C" NOT NULL,
  name      TEXT    COLLATE "C" NOT NULL,
  created   BIGINT  NOT NULL DEFAULT (extract(epoch FROM now()) * 1000)::BIGINT, -- milliseconds since 1970
  creator   TEXT    NOT NULL DEFAULT '',
  enabled   BOOLEAN NOT NULL DEFAULT TRUE,
  hash      TEXT    NOT NULL, -- of the secret
  rev       BIGINT  NOT NULL DEFAULT 0, -- at which the row last changed; triggers set it
  PRIMARY KEY (namespace, service, name)
)
--
CREATE INDEX svctoken_tokens_rev ON svctoken_tokens (rev)
--
-- Tokens that were deleted, or that have another name now.
CREATE TABLE svctoken_tombstones (
  namespace TEXT   COLLATE "C" NOT NULL,
  service   TEXT   COLLATE "C" NOT NULL,
  name      TEXT   COLLATE "C" NOT NULL,
  rev       BIGINT NOT NULL,
  PRIMARY KEY (namespace, service, name)
)
--
CREATE INDEX svctoken_tombstones_rev ON svctoken_tombstones (rev)
--
INSERT INTO svctoken_revs (rev, mark) VALUES (1, gen_random_uuid()::TEXT)
--
INSERT INTO svctoken_meta (one, uuid, format, rev, swept) VALUES (1, gen_random_uuid()::TEXT, 1, 1, 0)
