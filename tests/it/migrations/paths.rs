//! What constraints and triggers call does not depend on the `search_path` of who writes: else it would be somebody else's
//! functions and operators that say whether a row may be.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::TestDb;

const PINNED: &str = "search_path=pg_catalog, seatkeeper, pg_temp";

/// Everything of the schema, in a language that looks names up when it runs, that a constraint, a trigger, a default, a generated
/// column, an index, a view or a policy calls; and what that calls in turn.
const REACHED: &str = r"
    with recursive reached (oid, proname, prosrc) as (
        select p.oid, p.proname, p.prosrc from pg_proc p
        where p.pronamespace = 'seatkeeper'::regnamespace
          and exists (select from pg_depend d
                      where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid and d.classid = any (array[
                          'pg_constraint', 'pg_trigger', 'pg_attrdef', 'pg_class', 'pg_type', 'pg_rewrite', 'pg_policy']::regclass[]))
        union
        select p.oid, p.proname, p.prosrc
        from reached r join pg_proc p on p.pronamespace = 'seatkeeper'::regnamespace and r.prosrc ~ ('\m' || p.proname || '\s*\(')
    )
    select r.proname::text, r.prosrc, coalesce(p.proconfig, '{}'), to_jsonb(p) ->> 'prosqlbody' is not null
    from reached r join pg_proc p on p.oid = r.oid join pg_language l on l.oid = p.prolang
    where l.lanname not in ('c', 'internal')
    order by 1";

/// The first thing in the source that a `search_path` decides: a name without its schema, or an operator in whatever form.
fn left_to_the_path(source: &str) -> Option<String> {
    let mut text = String::new();
    for (number, part) in source.split('\'').enumerate() {
        text += if number % 2 == 0 { part } else { " literal " };
    }
    while let Some(from) = text.find("operator(pg_catalog.") {
        let until = from + text[from..].find(')').unwrap();
        text.replace_range(from..=until, " ");
    }
    if let Some(sign) = text.chars().find(|sign| "=<>+-*/~!@#%^&|?:[".contains(*sign)) {
        return Some(sign.to_string());
    }
    let words: Vec<&str> =
        text.split(|sign: char| !(sign.is_alphanumeric() || "._(".contains(sign))).flat_map(calls).collect();
    let hidden = [
        "in", "like", "ilike", "similar", "between", "distinct", "any", "all", "some", "nullif", "cast",
        "select",
    ];
    words.iter().enumerate().find_map(|(at, word)| {
        let is_call = word.ends_with('(');
        let name = word.trim_end_matches('(');
        let is_grouping = ["", "and", "or", "not", "when", "then", "else", "return"].contains(&name);
        let compares = name == "case" && words.get(at + 1) != Some(&"when");
        let is_left = hidden.contains(&name)
            || compares
            || (is_call && !is_grouping && !name.starts_with("pg_catalog."));
        is_left.then(|| (*word).to_owned())
    })
}

/// `f(a` is the call `f(` and the word `a`.
fn calls(word: &str) -> impl Iterator<Item = &str> {
    word.split_inclusive('(').filter(|part| !part.is_empty())
}

#[test]
fn what_is_left_to_the_path_is_seen() {
    for (source, left) in [
        ("begin return a operator(pg_catalog.=) 'x = y' and (b is null); end", None),
        ("return pg_catalog.num_nulls(a, b) operator(pg_catalog.=) 0", None),
        ("return case when a operator(pg_catalog.=) 'x' then true else false end", None),
        ("return a = 'x'", Some("=")),
        ("return num_nulls(a, b)", Some("num_nulls(")),
        ("return elsewhere.num_nulls(a, b)", Some("elsewhere.num_nulls(")),
        ("return case a when 'x' then true end", Some("case")),
        ("return a is distinct from b", Some("distinct")),
        ("return a in ('x')", Some("in")),
        ("return (a between b and c)", Some("between")),
        ("return a::citext", Some(":")),
    ] {
        assert_eq!(left_to_the_path(source).as_deref(), left, "{source}");
    }
}

#[tokio::test]
async fn whatever_constraints_and_triggers_reach_looks_names_up_where_we_say() {
    let db = TestDb::new().await;
    let reached: Vec<(String, String, Vec<String>, bool)> =
        sqlx::query_as(REACHED).fetch_all(&db.pool).await.unwrap();
    let names: Vec<&str> = reached.iter().map(|(name, ..)| name.as_str()).collect();
    // Of a check, of a trigger, and of what a trigger calls.
    for name in ["answer_fits", "mark_returned", "refuse_ledger_change", "move_bookings", "catalog_image"] {
        assert!(names.contains(&name), "{name} is reached: {names:?}");
    }
    let loose: Vec<String> = reached
        .iter()
        .filter(|(_, _, settings, is_parsed)| !is_parsed && !settings.iter().any(|one| one == PINNED))
        .filter_map(|(name, source, ..)| Some(format!("{name}: {}", left_to_the_path(source)?)))
        .collect();
    assert!(loose.is_empty(), "left to the search_path of who writes: {loose:#?}");
}

/// Functions and operators of somebody who would like another answer, before ours on the path.
const ELSEWHERE: &str = "
    create schema elsewhere;
    create function elsewhere.yes(text, text) returns boolean language sql immutable as 'select true';
    create operator elsewhere.= (leftarg = text, rightarg = text, function = elsewhere.yes);
    create function elsewhere.yes(integer, integer) returns boolean language sql immutable as 'select true';
    create operator elsewhere.= (leftarg = integer, rightarg = integer, function = elsewhere.yes);
    create function elsewhere.num_nulls(text, bigint, timestamptz) returns integer language sql immutable as 'select 0'";

#[tokio::test]
async fn nobody_stores_half_an_answer_by_operators_of_their_own() {
    let db = TestDb::new().await;
    db.run(ELSEWHERE).await;
    let mut connection = PgConnection::connect(&db.direct).await.unwrap();
    sqlx::query("set search_path = elsewhere, pg_catalog").execute(&mut connection).await.unwrap();
    for (status, columns, values) in [
        ("done", "finished_at", "now()"),
        ("done", "outcome, finished_at", "'applied', now()"),
        ("done", "outcome, answer_seq, finished_at", "'refused', 1, now()"),
        ("queued", "answer_seq", "1"),
        ("failed", "finished_at", "now()"),
    ] {
        let sql = format!(
            "insert into seatkeeper.requests (request_id, kind, payload, status, {columns})
             values (gen_random_uuid(), 'enroll', '{{}}', '{status}', {values})"
        );
        let stored = sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await;
        let error = stored.expect_err(&format!("{status} with {columns} is half an answer"));
        let constraint = error.as_database_error().and_then(|error| error.constraint());
        assert_eq!(constraint, Some("chk_request_answer"), "{status} with {columns}: {error}");
    }
}
