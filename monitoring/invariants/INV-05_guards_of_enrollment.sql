-- invariant: INV-05
-- summary: The guards on users, semesters, enrollments, ledger and requests are in force, as they are defined
-- severity: critical
-- alert_above: 0
-- key: what, table, name
-- guards: none: it looks at the guards themselves
-- manifest: guards
-- repair: Pause everything (`seatkeeper pause --everything --reason INV-05`). Find the rows that the guard
--   would have refused meanwhile: `seatkeeper check` finds those of the other invariants; repair these first, or the guard
--   cannot be put back. Then put it back with the statements that `seatkeeper doctor` shows for it (`seatkeeper doctor --sql`
--   prints nothing else), and run `seatkeeper roles --apply` where functions or sequences were made anew. Check again, and
--   resume.
with expected as materialized (
    select g.what, g."table", g.name, g.definition
    from jsonb_to_recordset($1::jsonb) g (what text, "table" text, name text, definition text)
),
ours as materialized (
    select c.oid, c.relname::text as name, c.relkind, c.relpersistence, c.relrowsecurity or c.relforcerowsecurity as hides
    from pg_class c
    where c.relnamespace = (select n.oid from pg_namespace n where n.nspname = 'seatkeeper')
      and c.relkind in ('r', 'p', 'S') and c.relname <> '_sqlx_migrations'
),
-- Once: else a plan may work all of them out anew for each guard that is expected, as on PostgreSQL 18. `trouble`: why it is not
-- in force although it is defined as it has to be; `repair`: what is done about that.
named as materialized (
    -- A foreign key, and what is deferrable, is enforced by triggers that `disable trigger all` turns off.
    select 'constraint' as what, o.name as "table", c.conname::text as name,
           regexp_replace(pg_get_constraintdef(c.oid), ' NOT (VALID|ENFORCED)$', '') as definition,
           case when s.is_off then 'not enforced: it refuses nothing'
                when not c.convalidated then 'not validated: older rows may break it'
                when d.enable is not null then 'not in force: its triggers are disabled' end as trouble,
           case when s.is_off and c.contype = 'f'
                    then array[format('alter table seatkeeper.%I alter constraint %I enforced', o.name, c.conname)]
                when s.is_off then array[
                    format('alter table seatkeeper.%1$I drop constraint %2$I, add constraint %2$I %3$s not valid', o.name, c.conname,
                           regexp_replace(pg_get_constraintdef(c.oid), ' NOT ENFORCED$', '')),
                    format('alter table seatkeeper.%I validate constraint %I', o.name, c.conname)]
                when not c.convalidated then array[format('alter table seatkeeper.%I validate constraint %I', o.name, c.conname)]
                else d.enable end as repair
    from pg_constraint c
    join ours o on o.oid = c.conrelid
    -- A column of PostgreSQL 18.
    cross join lateral (select not c.convalidated and to_jsonb(c) ->> 'conenforced' = 'false' as is_off) s
    cross join lateral (select array_agg(distinct format('alter table %s enable trigger all', r.tgrelid::regclass)) as enable
                        from pg_trigger r where r.tgconstraint = c.oid and r.tgenabled not in ('O', 'A')) d
    where c.contype in ('c', 'f', 'p', 'u', 'x')
    union all
    -- A column that loses its type loses the checks of the type.
    select 'constraint', o.name, c.conname::text,
           format('%s of %s for %s', regexp_replace(pg_get_constraintdef(c.oid), ' NOT VALID$', ''), c.contypid::regtype,
                  string_agg(a.attname::text, ', ' order by a.attname::text collate "C")),
           case when not c.convalidated then 'not validated: older rows may break it' end,
           array[format('alter domain %s validate constraint %I', c.contypid::regtype, c.conname)]
    from pg_constraint c join pg_attribute a on a.atttypid = c.contypid join ours o on o.oid = a.attrelid
    where c.contype = 'c' and c.contypid <> 0 and not a.attisdropped
    group by c.oid, c.conname, c.contypid, c.convalidated, o.name
    union all
    select 'index', o.name, n.relname::text, pg_get_indexdef(i.indexrelid),
           case when not (i.indisvalid and i.indisready and i.indislive) then 'not in force: the index is invalid' end,
           -- What excludes cannot be built beside those who write.
           array[format('reindex index %sseatkeeper.%I', case when not i.indisexclusion then 'concurrently ' end, n.relname)]
    from pg_index i join ours o on o.oid = i.indrelid join pg_class n on n.oid = i.indexrelid
    union all
    select 'trigger', o.name, r.tgname::text, pg_get_triggerdef(r.oid),
           case when r.tgenabled not in ('O', 'A') then 'not in force: the trigger is disabled' end,
           array[format('alter table seatkeeper.%I enable trigger %I', o.name, r.tgname)]
    from pg_trigger r join ours o on o.oid = r.tgrelid where not r.tgisinternal
    union all
    select 'rule', o.name, w.rulename::text, pg_get_ruledef(w.oid), null, null
    from pg_rewrite w join ours o on o.oid = w.ev_class
    union all
    select 'policy', o.name, p.polname::text, coalesce(pg_get_expr(p.polqual, p.polrelid), 'true'), null, null
    from pg_policy p join ours o on o.oid = p.polrelid
    union all
    select 'table', o.name, o.name, case o.relpersistence when 'u' then 'unlogged' else 'permanent' end,
           case when o.hides then 'under row level security: to who does not own it, rows are as if they were not there' end,
           array[format('alter table seatkeeper.%I disable row level security, no force row level security', o.name)]
    from ours o where o.relkind <> 'S'
    union all
    select 'column', o.name, a.attname::text,
           concat(format_type(a.atttypid, a.atttypmod), ' collate ' || nullif(a.attcollation, t.typcollation)::regcollation,
                  case when a.attnotnull then ' not null' end,
                  case when a.attidentity = 'd' then ' generated by default as identity'
                       when a.attidentity = 'a' then ' generated always as identity'
                       when a.attgenerated <> '' then ' generated always as ' || pg_get_expr(d.adbin, d.adrelid)
                       else ' default ' || pg_get_expr(d.adbin, d.adrelid) end),
           case when c.oid is not null then 'not validated: older rows may have nothing there' end,
           case when c.oid is not null then array[format('alter table seatkeeper.%I validate constraint %I', o.name, c.conname)] end
    from pg_attribute a
    join ours o on o.oid = a.attrelid
    join pg_type t on t.oid = a.atttypid
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    -- `not null` has a name, and can be put off, since PostgreSQL 18.
    left join pg_constraint c on c.conrelid = a.attrelid and c.contype = 'n' and not c.convalidated and c.conkey = array[a.attnum]
    where o.relkind <> 'S' and a.attnum > 0 and not a.attisdropped
    union all
    select 'sequence', '', o.name,
           concat(case when o.relpersistence = 'u' then 'unlogged ' end,
                  format('as %s increment by %s minvalue %s maxvalue %s cache %s', s.seqtypid::regtype, s.seqincrement, s.seqmin,
                         s.seqmax, s.seqcache),
                  case when s.seqcycle then ' cycle' else ' no cycle' end,
                  coalesce(' ' || d.owner, ' owned by none')),
           null, null
    from ours o
    join pg_sequence s on s.seqrelid = o.oid
    left join lateral (
        select format('%s %s.%I', case d.deptype when 'i' then 'identity of' else 'owned by' end, d.refobjid::regclass, a.attname)
        from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
        where d.classid = 'pg_class'::regclass and d.objid = o.oid and d.refclassid = 'pg_class'::regclass
          and d.deptype in ('a', 'i')
    ) d (owner) on true
    union all
    select 'function', '', format('%s(%s)', f.proname, pg_get_function_identity_arguments(f.oid)),
           concat_ws(', ', 'md5 ' || md5(f.prosrc), case when f.prosecdef then 'security definer' end,
                     array_to_string(f.proconfig, ', ')),
           null, null
    from pg_proc f
    where f.pronamespace = (select n.oid from pg_namespace n where n.nspname = 'seatkeeper') and f.prokind = 'f'
    union all
    select 'extension', '', x.extname::text, 'installed', null, null from pg_extension x where x.extname = 'btree_gist'
    union all
    -- In a replica's session triggers are silent, foreign keys too, and what is deferrable refuses nothing.
    select 'setting', '', 'session_replication_role', s.value,
           case when s.value = 'replica' then 'set to replica: triggers are silent, and what is deferrable refuses nothing' end,
           case (select g.source from pg_settings g where g.name = 'session_replication_role' and s.value = 'replica')
               when 'configuration file'
                   then array['alter system set session_replication_role = origin', 'select pg_reload_conf()']
               when 'session' then array['reset session_replication_role'] end
    from (select case current_setting('session_replication_role') when 'replica' then 'replica' else 'origin' end) s (value)
    union all
    select 'setting', '', 'session_replication_role of ' || whose.words, 'replica', null,
           array[format('alter %s reset session_replication_role', whose.words)]
    from pg_db_role_setting s
    left join pg_database d on d.oid = s.setdatabase
    cross join lateral (
        select case when s.setrole = 0 and s.setdatabase = 0 then 'role all'
                    when s.setrole = 0 then format('database %I', d.datname)
                    else format('role %I', pg_get_userbyid(s.setrole)) || case when d.oid is null then '' else format(' in database %I', d.datname) end end
    ) whose (words)
    where (s.setdatabase = 0 or d.datname = current_database()) and 'session_replication_role=replica' = any (s.setconfig)
)
select e.what, e."table", e.name,
       case when n.name is null then 'missing'
            when n.definition like 'unlogged%' then 'unlogged: a crash empties it' || coalesce(', and ' || n.trouble, '')
            when e.what = 'setting' and n.trouble is not null then n.trouble
            when n.definition is distinct from e.definition then 'defined otherwise' || coalesce(', and ' || n.trouble, '')
            else n.trouble end as problem,
       e.definition as expected, n.definition as found,
       coalesce(case when n.definition is not distinct from e.definition then n.repair
                     else array_remove(remake.steps, null) end, '{}') as repair
from expected e
left join named n on n.what = e.what and n."table" = e."table" and n.name = e.name
-- The index of a constraint of the same name, as it has to be and as it is.
left join expected wanted on e.what = 'constraint' and wanted.what = 'index' and wanted."table" = e."table" and wanted.name = e.name
left join named index on e.what = 'constraint' and index.what = 'index' and index."table" = e."table" and index.name = e.name
cross join lateral (select
    (select array[m[1], m[2], (select regexp_replace(pg_get_constraintdef(c.oid), ' NOT VALID$', '') from pg_constraint c
                               where c.contypid = to_regtype(m[2]) and c.conname = e.name)]
     from regexp_match(e.definition, '^(CHECK .*) of (\S+) for ') m where m is not null) as of_type,
    index.definition is not distinct from wanted.definition and index.trouble is null and n.name is null as has_index,
    regexp_match(e.definition, '^(.*?)( not null)?(?: default (.*)| generated (.*) as identity)?$') as due,
    regexp_match(n.definition, '^(.*?)( not null)?(?: default (.*)| generated (.*) as identity)?$') as is
) p
-- How it is made as it has to be, where it is missing or defined otherwise. (How functions are made, the migrations say.)
cross join lateral (select case
    when e.what = 'trigger' then array[
        case when n.name is null then e.definition else regexp_replace(e.definition, '^CREATE ', 'CREATE OR REPLACE ') end]
    when e.what = 'extension' then array[format('create extension %I with schema seatkeeper', e.name)]
    when e.what = 'table' and n.name is not null then array[format('alter table seatkeeper.%I set logged', e.name)]
    when e.what = 'setting' then n.repair
    -- That of an identity comes with its column. Where the numbers go on is a matter of what was drawn.
    when e.what = 'sequence' and n.name is null and e.definition ~ ' owned by none$' then array[format(
        'do $$ begin create sequence seatkeeper.%I %s; perform setval(%L, %s); end $$', e.name, e.definition,
        format('seatkeeper.%I', e.name), case e.name
            when 'answer_seq' then 'greatest(1, (select max(answer_seq) from seatkeeper.requests), '
                || '(select max(change_seq) from seatkeeper.catalog_changes))'
            when 'waitlist_ticket_seq' then 'greatest(1, (select max(waitlist_ticket) from seatkeeper.bookings))'
            else '1' end)]
    when e.what = 'sequence' and n.name is not null then array[
        case when n.definition ~ '^unlogged' then format('alter sequence seatkeeper.%I set logged', e.name) end,
        format('alter sequence seatkeeper.%I %s', e.name, regexp_replace(e.definition, ' identity of .*$', ''))]
    when e.what = 'column' and n.name is null
        then array[format('alter table seatkeeper.%I add column %I %s', e."table", e.name, e.definition)]
    when e.what = 'column' then array[
        case when p.due[1] <> p.is[1] then format('alter table seatkeeper.%1$I alter column %2$I type %3$s using %2$I::%3$s',
                                                  e."table", e.name, p.due[1]) end,
        case when p.due[2] is distinct from p.is[2] then format('alter table seatkeeper.%I alter column %I %s not null', e."table",
                                                      e.name, case when p.due[2] is null then 'drop' else 'set' end) end,
        case when p.due[4] is null and p.is[4] is not null
            then format('alter table seatkeeper.%I alter column %I drop identity', e."table", e.name) end,
        case when p.due[3] is distinct from p.is[3] then format('alter table seatkeeper.%I alter column %I %s', e."table",
                                                      e.name, coalesce('set default ' || p.due[3], 'drop default')) end,
        case when p.due[4] is not null and p.is[4] is not null and p.due[4] <> p.is[4]
            then format('alter table seatkeeper.%I alter column %I set generated %s', e."table", e.name, p.due[4])
            when p.due[4] is not null and p.is[4] is null then format(
                'do $$ begin alter table seatkeeper.%1$I alter column %2$I add generated %3$s as identity; '
                || 'perform setval(pg_get_serial_sequence(%4$L, %2$L), coalesce(max(%2$I) + 1, 1), false) from seatkeeper.%1$I; end $$',
                e."table", e.name, p.due[4], format('seatkeeper.%I', e."table")) end]
    -- That of a constraint comes with it.
    when e.what = 'index' and not exists (select from expected c where c.what = 'constraint' and c."table" = e."table"
                                                                       and c.name = e.name) then array[
        case when n.name is not null then format('drop index concurrently seatkeeper.%I', e.name) end,
        regexp_replace(e.definition, ' INDEX ', ' INDEX CONCURRENTLY ')]
    when e.what = 'constraint' and e.definition ~ '^EXCLUDE ' then array[
        case when n.name is not null then format('alter table seatkeeper.%I drop constraint %I', e."table", e.name) end,
        format('alter table seatkeeper.%I add constraint %I %s', e."table", e.name, e.definition)]
    when e.what = 'constraint' and e.definition ~ '^(PRIMARY KEY|UNIQUE) ' then array[
        case when n.name is not null then format('alter table seatkeeper.%I drop constraint %I cascade', e."table", e.name)
             when index.name is not null and not p.has_index then format('drop index concurrently seatkeeper.%I', e.name) end,
        case when not p.has_index then regexp_replace(wanted.definition, ' INDEX ', ' INDEX CONCURRENTLY ') end,
        format('alter table seatkeeper.%1$I add constraint %2$I %3$s using index %2$I', e."table", e.name,
               substring(e.definition from '^(PRIMARY KEY|UNIQUE) '))]
    -- Where the type's check is as it has to be, it is the columns that have another type.
    when e.what = 'constraint' and p.of_type is not null then case when p.of_type[1] is distinct from p.of_type[3] then array[
        case when p.of_type[3] is not null then format('alter domain %s drop constraint %I', p.of_type[2], e.name) end,
        format('alter domain %s add constraint %I %s not valid', p.of_type[2], e.name, p.of_type[1]),
        format('alter domain %s validate constraint %I', p.of_type[2], e.name)] else '{}' end
    when e.what = 'constraint' then array[
        format('alter table seatkeeper.%I %sadd constraint %I %s not valid', e."table",
               case when n.name is not null then format('drop constraint %I, ', e.name) end, e.name, e.definition),
        format('alter table seatkeeper.%I validate constraint %I', e."table", e.name)]
    end as steps) remake
where n.name is null or n.trouble is not null or n.definition is distinct from e.definition
union all
-- What somebody has added.
select n.what, n."table", n.name,
       case when n.what = 'setting' then 'set to replica: triggers are silent, and what is deferrable refuses nothing'
            else 'not one of ours: it can change, hide or refuse what is written' end,
       null, n.definition,
       case when n.what = 'setting' then n.repair
            else array[format('drop %s %I on seatkeeper.%I', n.what, n.name, n."table")] end
from named n
where (n.what in ('trigger', 'rule', 'policy') and n."table" in (select e."table" from expected e where e.what = 'table')
       or n.what = 'setting' and exists (select from expected e where e.what = 'setting'))
  and not exists (select from expected e where e.what = n.what and e."table" = n."table" and e.name = n.name)
