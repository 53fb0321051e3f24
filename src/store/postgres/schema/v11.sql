-- Schema 11: what accounts of mirrors are found by is indexed by a hash of it, in B-trees, which are made in a third
-- of a hash index's time, by several processes, with a few records of the log instead of one a row. Partitions hang
-- on this hash: it stays what it is from one version of PostgreSQL to the next. Who asks compares the text as well
-- (`../dialect.rs`). What gateways ask for by its text alone keeps its hash index: `user_username`, `link_ext`; and so
-- does what few rows have, of whose hash the server would know nothing where none of them is looked at.

DROP INDEX mirror_user_ext;
DROP INDEX mirror_user_name;
DROP INDEX mirror_user_email;
CREATE INDEX mirror_user_ext ON mirror_user (hashtextextended(ext, 0));
CREATE INDEX mirror_user_name ON mirror_user (hashtextextended(lower(username), 0));
CREATE INDEX mirror_user_email ON mirror_user (hashtextextended(lower(email), 0)) WHERE email <> '';
-- Of an expression the server knows nothing before it has looked.
SET LOCAL default_statistics_target = 10;
ANALYZE mirror_user;
