-- invariant: INV-10
-- summary: Every sequence is ahead of all numbers that are stored
-- severity: critical
-- alert_above: 0
-- key: sequence
-- guards: none: a sequence knows nothing of the table
-- repair: Stop producers, or let them wait: numbers may have been given twice already. Run the `repair` of each row, and let
--   `seatkeeper audit` say whether every answer still follows. Workers that found it when they came to this database wait by themselves, and go
--   on as soon as it is right. After a logical replication it is the last step of the move.
select b.sequence, b.next, b.stored, b.repair from seatkeeper.sequences_behind() b
