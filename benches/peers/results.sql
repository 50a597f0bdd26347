-- Where the measurements are kept, and how they are put together.
create table work (round integer, load text, way text, requests integer, seconds double precision,
                   syncs bigint, cpu_ms double precision);
create table enqueueing (round integer, way text, batch integer, requests integer, seconds double precision,
                         syncs bigint);
create table ways (way text primary key, place integer generated always as identity);
create table versions (name text, version text);

create view work_summary as
with rates as (select *, requests / seconds as rate, requests::numeric / greatest(syncs, 1) as per_sync from work),
ratios as (
    select r.*, r.rate / b.rate as ratio
    from rates r join rates b on b.round = r.round and b.load = r.load
        and b.way = (select way from ways order by place limit 1))
select load, way, max(requests) as requests, count(*) as rounds,
       percentile_disc(0.5) within group (order by rate) as per_second,
       percentile_disc(0.5) within group (order by ratio) as ratio, min(ratio) as smallest, max(ratio) as largest,
       percentile_disc(0.5) within group (order by per_sync) as per_sync,
       percentile_disc(0.5) within group (order by cpu_ms / requests) as cpu_ms
from ratios join ways using (way) group by load, way, place order by load desc, place;

create view enqueueing_summary as
with rates as (select *, requests / seconds as rate, requests::numeric / greatest(syncs, 1) as per_sync from enqueueing)
select way, batch, max(requests) as requests, count(*) as rounds,
       percentile_disc(0.5) within group (order by rate) as per_second, min(rate) as smallest, max(rate) as largest,
       percentile_disc(0.5) within group (order by per_sync) as per_sync
from rates join ways using (way) group by way, batch, place order by batch, place;
