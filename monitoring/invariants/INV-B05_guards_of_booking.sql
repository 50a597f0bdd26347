-- invariant: INV-B05
-- summary: The guards on sessions, bookings and attendance are in force, as they are defined
-- severity: critical
-- alert_above: 0
-- key: what, table, name
-- guards: none: it looks at the guards themselves
-- manifest: guards
-- repair: Pause everything (`seatkeeper pause --everything --reason INV-B05`). Find the rows that the guard
--   would have refused meanwhile: `seatkeeper check` finds those of the other invariants; repair these first, or the guard
--   cannot be put back. Then put it back as `expected` has it: `alter table … validate constraint`, `reindex index
--   concurrently`, `enable trigger`, or drop it and make it again. (A check of VALUE is one of the column's type: `alter
--   domain`.) Check again, and resume.
with expected as (
    select g.what, g."table", g.name, g.definition
    from jsonb_to_recordset($1::jsonb) g ("group" text, what text, "table" text, name text, definition text)
    where g."group" = 'INV-B05'
),
live as (
    -- A foreign key is enforced by triggers that `disable trigger all` turns off.
    select 'constraint' as what, c.conrelid as relid, c.conname::text as name, pg_get_constraintdef(c.oid) as definition,
           case when not c.convalidated then 'not validated: older rows may break it'
                when exists (select from pg_trigger r where r.tgconstraint = c.oid and r.tgenabled not in ('O', 'A'))
                    then 'not in force: its triggers are disabled' end as trouble
    from pg_constraint c where c.contype in ('c', 'f', 'p', 'u', 'x')
    union all
    -- A column that loses its type loses the checks of the type.
    select 'constraint', a.attrelid, c.conname::text,
           pg_get_constraintdef(c.oid) || ' for ' || string_agg(a.attname, ', ' order by a.attnum),
           case when not c.convalidated then 'not validated: older rows may break it' end
    from pg_constraint c join pg_attribute a on a.atttypid = c.contypid join pg_class o on o.oid = a.attrelid
    where c.contype = 'c' and c.contypid <> 0 and o.relkind = 'r' and not a.attisdropped
    group by c.oid, a.attrelid
    union all
    select 'index', i.indrelid, n.relname, pg_get_indexdef(i.indexrelid),
           case when not (i.indisvalid and i.indisready and i.indislive) then 'not in force: the index is invalid' end
    from pg_index i join pg_class n on n.oid = i.indexrelid
    union all
    select 'trigger', r.tgrelid, r.tgname, pg_get_triggerdef(r.oid),
           case when r.tgenabled not in ('O', 'A') then 'not in force: the trigger is disabled' end
    from pg_trigger r where not r.tgisinternal
),
-- Once: else a plan may work all of them out anew for each guard that is expected, as on PostgreSQL 18.
named as materialized (
    select l.what, t.relname::text as "table", l.name, l.definition, l.trouble
    from live l join pg_class t on t.oid = l.relid
    where t.relnamespace = (select n.oid from pg_namespace n where n.nspname = 'seatkeeper')
    union all
    select 'function', '', format('%s(%s)', f.proname, pg_get_function_identity_arguments(f.oid)),
           concat_ws(', ', 'md5 ' || md5(f.prosrc), case when f.prosecdef then 'security definer' end,
                     array_to_string(f.proconfig, ', ')),
           null
    from pg_proc f
    where f.pronamespace = (select n.oid from pg_namespace n where n.nspname = 'seatkeeper') and f.prokind = 'f'
)
select e.what, e."table", e.name,
       case when n.name is null then 'missing'
            else coalesce(n.trouble, 'defined otherwise') end as problem,
       e.definition as expected, n.definition as found
from expected e
left join named n on n.what = e.what and n."table" = e."table" and n.name = e.name
where n.name is null or n.trouble is not null or n.definition is distinct from e.definition
