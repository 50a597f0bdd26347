//! What PostgreSQL's catalog says of the roles and their rights. Everybody may read it.

use sqlx::PgConnection;

use super::RolePrefix;

/// What the words of the catalog depend on, whatever the database, the role or the session has set.
pub(super) const WORDS: &str = "set local search_path = pg_catalog; set local quote_all_identifiers = off";

/// An object of ours, or of apalis's, and a right on it that is not its owner's; without any, the object alone.
#[derive(Debug)]
pub(super) struct Row {
    /// As `grant … on` takes it: `table seatkeeper.users`.
    pub on: String,
    /// Whether it is in schema apalis, which may be shared with an application.
    pub is_apalis: bool,
    /// Whether it has the owner of something else: a column, or the sequence of one.
    pub is_part: bool,
    /// Who owns it, and the schema.
    pub owner: String,
    pub schema_owner: String,
    /// As `grant` takes it: `SELECT`, `UPDATE (status)`.
    pub right: Option<String>,
    /// Who has it; `None` = PUBLIC.
    pub grantee: Option<String>,
    pub is_grantable: bool,
    /// Who has passed it on, when that was not the owner.
    pub passed_on_by: Option<String>,
}

/// Every object, and everybody's rights on it but the owner's own.
pub(super) async fn rights(connection: &mut PgConnection) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"-- roles.rights
           with ours as (
               select n.oid, n.nspname, n.nspowner, n.nspacl from pg_catalog.pg_namespace n where n.nspname in ('seatkeeper', 'apalis')
           ), object (schema, what, name, part, owner, acl, is_part) as (
               select n.oid, 'schema', quote_ident(n.nspname), '', n.nspowner,
                      coalesce(n.nspacl, acldefault('n', n.nspowner)), false
               from ours n
               union all
               select c.relnamespace, case c.relkind when 'S' then 'sequence' else 'table' end, c.oid::regclass::text, '', c.relowner,
                      coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner)),
                      -- The sequence of a column belongs to whoever has the table.
                      c.relkind = 'S' and exists (select from pg_catalog.pg_depend d
                                                  where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid
                                                    and d.deptype in ('a', 'i') and d.refobjsubid > 0)
               from ours n join pg_catalog.pg_class c on c.relnamespace = n.oid
               where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
                 and not exists (select from pg_catalog.pg_depend d
                                 where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
               union all
               select c.relnamespace, 'table', c.oid::regclass::text, format(' (%I)', a.attname), c.relowner, a.attacl, true
               from ours n join pg_catalog.pg_class c on c.relnamespace = n.oid
               join pg_catalog.pg_attribute a on a.attrelid = c.oid
               where a.attacl is not null and not a.attisdropped
               union all
               select p.pronamespace, 'routine', p.oid::regprocedure::text, '', p.proowner,
                      coalesce(p.proacl, acldefault('f', p.proowner)), false
               from ours n join pg_catalog.pg_proc p on p.pronamespace = n.oid
               where not exists (select from pg_catalog.pg_depend d
                                 where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
               union all
               select t.typnamespace, 'type', t.oid::regtype::text, '', t.typowner,
                      coalesce(t.typacl, acldefault('T', t.typowner)), false
               from ours n join pg_catalog.pg_type t on t.typnamespace = n.oid left join pg_catalog.pg_class c on c.oid = t.typrelid
               -- Arrays have no rights of their own, nor has the row of a table one that anybody made.
               where (t.typtype in ('d', 'e', 'r') or c.relkind = 'c')
                 and not exists (select from pg_catalog.pg_depend d
                                 where d.classid = 'pg_catalog.pg_type'::regclass and d.objid = t.oid and d.deptype = 'e')
           )
           select o.what || ' ' || o.name as "on!", n.nspname = 'apalis' as "is_apalis!", o.is_part as "is_part!",
                  pg_get_userbyid(o.owner)::text as "owner!", pg_get_userbyid(n.nspowner)::text as "schema_owner!",
                  a.privilege_type || o.part as "right?",
                  case when a.grantee <> 0 then pg_get_userbyid(a.grantee)::text end as "grantee?",
                  coalesce(a.is_grantable, false) as "is_grantable!",
                  case when a.grantor <> o.owner then pg_get_userbyid(a.grantor)::text end as "passed_on_by?"
           from object o
           join ours n on n.oid = o.schema
           left join lateral aclexplode(o.acl) a on a.grantee <> o.owner"#
    )
    .fetch_all(connection)
    .await
}

/// A role of ours as it is.
#[derive(Debug)]
pub(super) struct Attributes {
    pub name: String,
    /// What to say to `alter role` to have it as it should be.
    pub wrong: Vec<String>,
}

/// Those of our roles that are there.
pub(super) async fn attributes(
    connection: &mut PgConnection,
    prefix: &RolePrefix,
) -> sqlx::Result<Vec<Attributes>> {
    sqlx::query_as!(
        Attributes,
        r#"-- roles.attributes
           select r.rolname::text as "name!",
                  array_remove(array[case when r.rolcanlogin then 'nologin' end, case when r.rolsuper then 'nosuperuser' end,
                                     case when r.rolcreatedb then 'nocreatedb' end, case when r.rolcreaterole then 'nocreaterole' end,
                                     case when r.rolreplication then 'noreplication' end,
                                     case when r.rolbypassrls then 'nobypassrls' end,
                                     case when not r.rolinherit then 'inherit' end], null) as "wrong!"
           from pg_catalog.pg_roles r
           where r.rolname = any ($1)
           order by r.rolname"#,
        &prefix.names()
    )
    .fetch_all(connection)
    .await
}

/// A role of ours that is in another role.
#[derive(Debug)]
pub(super) struct Membership {
    pub member: String,
    /// The role that it is in.
    pub role: String,
    /// Whether it may have others in.
    pub is_admin: bool,
    /// Whether it has the rights without asking for them. (PostgreSQL 16 and newer know it of each membership.)
    pub inherits: bool,
    /// The end of the statement that changes it: from 16 on each has its grantor.
    pub granted_by: String,
}

/// Which of our roles is in which role.
pub(super) async fn memberships(
    connection: &mut PgConnection,
    prefix: &RolePrefix,
) -> sqlx::Result<Vec<Membership>> {
    sqlx::query_as!(
        Membership,
        r#"-- roles.memberships
           select r.rolname::text as "member!", g.rolname::text as "role!", m.admin_option as "is_admin!",
                  coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true) as "inherits!",
                  case when current_setting('server_version_num')::integer >= 160000
                       then format(' granted by %I', pg_get_userbyid(m.grantor)) else '' end as "granted_by!"
           from pg_catalog.pg_auth_members m
           join pg_catalog.pg_roles r on r.oid = m.member
           join pg_catalog.pg_roles g on g.oid = m.roleid
           where r.rolname = any ($1)
           order by r.rolname, g.rolname, m.grantor"#,
        &prefix.names()
    )
    .fetch_all(connection)
    .await
}

/// A right that somebody is given on whatever an account makes in a schema.
#[derive(Debug)]
pub(super) struct DefaultRight {
    pub maker: String,
    pub schema: String,
    /// `tables`, `sequences`, `functions`, `types`.
    pub of: String,
    pub right: String,
    /// `None` = PUBLIC.
    pub grantee: Option<String>,
}

/// Default privileges in the schemas.
pub(super) async fn defaults(connection: &mut PgConnection) -> sqlx::Result<Vec<DefaultRight>> {
    sqlx::query_as!(
        DefaultRight,
        r#"-- roles.defaults
           select pg_get_userbyid(d.defaclrole)::text as "maker!", n.nspname::text as "schema!",
                  case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' else 'types' end
                      as "of!",
                  a.privilege_type as "right!",
                  case when a.grantee <> 0 then pg_get_userbyid(a.grantee)::text end as "grantee?"
           from pg_catalog.pg_default_acl d
           join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace
           cross join lateral aclexplode(d.defaclacl) a
           where n.nspname in ('seatkeeper', 'apalis')
           order by 2, 1, 3, 5, 4"#
    )
    .fetch_all(connection)
    .await
}

/// The statement that keeps everybody from connecting who was not let in by name; `None` = that is so already.
pub(super) async fn open_to_everybody(connection: &mut PgConnection) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        r#"-- roles.connect
           select format('revoke connect on database %I from public', d.datname) as "sql!"
           from pg_catalog.pg_database d
           where d.datname = current_database()
             and exists (select from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                         where a.grantee = 0 and a.privilege_type = 'CONNECT')"#
    )
    .fetch_optional(connection)
    .await
}
