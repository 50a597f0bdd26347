-- What the planner is forbidden looks to it as if it cost billions, and what costs that much is compiled first (`jit`): a look
-- at ten sequences took 1.3 s, of which the compiler took all but a few milliseconds.
alter function seatkeeper.sequences_behind() set jit = off;
