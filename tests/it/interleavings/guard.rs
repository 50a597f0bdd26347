//! Guards that can be taken away without building anything: what a file in `tests/mutants` takes out of the source is taken out
//! of the statements on their way to the server, or out of the functions in the database. The explorer has to notice.

use std::path::Path;

use sqlx::{AssertSqlSafe, PgPool};

/// A guard, by the name of its mutant.
#[derive(Debug, Clone)]
pub struct Guard {
    pub name: String,
    is_function: bool,
    text: String,
    without: String,
}

impl Guard {
    /// Reads `tests/mutants/NAME.mutant`, which has to be about SQL.
    pub fn named(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/mutants/{name}.mutant"));
        let mutant =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (head, rest) = mutant.split_once("--- as it is\n").expect("a text as it is");
        let (text, without) = rest.split_once("--- without the guard\n").expect("a text without the guard");
        // A text that ends with the literal in the source ends with the statement here.
        let statement = |text: &str| text.trim_end_matches(['\n', ',', '#', '"']).to_owned();
        Self {
            name: name.to_owned(),
            is_function: head.contains("file: migrations/"),
            text: statement(text),
            without: statement(without),
        }
    }

    /// The text in statements, and what comes instead.
    pub fn of_statements(&self) -> Option<(String, String)> {
        (!self.is_function).then(|| (self.text.clone(), self.without.clone()))
    }

    /// Takes it out of the functions of a database.
    pub async fn take_from(&self, pool: &PgPool) {
        if !self.is_function {
            return;
        }
        let functions: Vec<String> = sqlx::query_scalar(
            "select replace(pg_get_functiondef(oid), $1, $2) from pg_proc
             where pronamespace = 'seatkeeper'::regnamespace and position($1 in prosrc) > 0",
        )
        .bind(&self.text)
        .bind(&self.without)
        .fetch_all(pool)
        .await
        .unwrap();
        assert!(!functions.is_empty(), "{}: no function has its text", self.name);
        for function in functions {
            sqlx::raw_sql(AssertSqlSafe(function)).execute(pool).await.unwrap();
        }
    }
}
