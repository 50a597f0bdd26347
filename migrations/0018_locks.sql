-- What workers lock to be alone at something. An advisory lock with a number that everybody knows could be held by anybody who may
-- connect, and then nobody calls the roll; a table can be locked like this only by who may change it. (A lock on a table, unlike one on
-- a row, gives its transaction no ID: who is at a chore for an hour keeps nobody's vacuum from clearing
-- away. A vacuum of the whole database, by hand, waits at these tables until the chore is done.)
create table seatkeeper.lock_roll_call ();
comment on table seatkeeper.lock_roll_call is 'Never has rows. Whoever calls the roll on schedule has it locked';
create table seatkeeper.lock_critical_checks ();
comment on table seatkeeper.lock_critical_checks is 'Never has rows. Whoever checks the critical invariants on schedule has it locked';
create table seatkeeper.lock_retention ();
comment on table seatkeeper.lock_retention is 'Never has rows. Whoever removes old requests has it locked';
create table seatkeeper.lock_statistics ();
comment on table seatkeeper.lock_statistics is 'Never has rows. Whoever brings the planner''s statistics up to date has it locked';
