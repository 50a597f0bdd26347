-- What one measurement asks: so many users, everybody once, in random order. Variables: count, seed, hot, semesters.
select setseed(:seed);
insert into peers.ask
select row_number() over (), gen_random_uuid(), user_id,
       case when :hot then 1 else 1 + floor(random() * :semesters) end
from (select user_id from seatkeeper.users order by random() limit :count) everybody;
analyze peers.ask;
