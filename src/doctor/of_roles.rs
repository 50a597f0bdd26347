//! What is set for single roles: this session, which may be of another role, does not show it.

use sqlx::PgConnection;

use super::Finding;

/// Settings that matter here, and the values that do no harm.
const HARMLESS: [(&str, &[&str]); 4] = [
    ("synchronous_commit", &["on", "local", "remote_write", "remote_apply"]),
    ("default_transaction_isolation", &["read committed"]),
    ("default_transaction_read_only", &["off", "false", "no", "0"]),
    ("transaction_timeout", &["0"]),
];

pub(super) async fn findings(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    let names: Vec<String> = HARMLESS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let rows = sqlx::query!(
        r#"-- doctor.of_roles
           select r.rolname::text as "role!", c.name as "name!", c.value as "value!",
                  format('alter role %I %sreset %s', r.rolname,
                         case when s.setdatabase <> 0 then format('in database %I ', current_database()) else '' end,
                         c.name) as "advice!"
           from pg_catalog.pg_db_role_setting s
           join pg_catalog.pg_roles r on r.oid = s.setrole
           cross join lateral (
               select split_part(u.setting, '=', 1) as name, substr(u.setting, strpos(u.setting, '=') + 1) as value
               from unnest(s.setconfig) u (setting)
           ) c
           where (s.setdatabase = 0 or s.setdatabase = (
                      select d.oid from pg_catalog.pg_database d where d.datname = current_database()))
             and c.name = any ($1)
             -- Whoever has nothing to do here is nobody's business.
             and has_schema_privilege(r.oid, 'seatkeeper', 'usage')
           order by r.rolname, c.name"#,
        &names
    )
    .fetch_all(connection)
    .await?;
    let findings = rows.iter().filter(|row| !is_harmless(&row.name, &row.value)).map(|row| {
        let what = format!("role {} has {} = {}: {}", row.role, row.name, row.value, consequence(&row.name));
        let todo = format!("find out why it was set; `{}`", row.advice);
        if row.name == "synchronous_commit" {
            Finding::problem("roles' settings", what, todo)
        } else {
            Finding::warning("roles' settings", what, todo)
        }
    });
    Ok(findings.collect())
}

fn is_harmless(name: &str, value: &str) -> bool {
    HARMLESS.iter().any(|(known, values)| *known == name && values.contains(&value.to_lowercase().as_str()))
}

fn consequence(name: &str) -> &'static str {
    match name {
        "synchronous_commit" => "what it is told can be gone after a crash",
        "default_transaction_isolation" => {
            "it gets 40001 for a concurrent duplicate, unless it begins as read committed"
        }
        "default_transaction_read_only" => "it cannot enqueue",
        _ => "its transactions are ended when they take longer, and so are those that enqueue",
    }
}
