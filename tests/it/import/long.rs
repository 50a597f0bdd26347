//! Fields longer than anybody needs, such as the rest of a file after a quotation mark that is never closed.

use super::{CSV, counts, import, lines};
use crate::support::TestDb;

const LONGEST: usize = 1 << 20;

#[tokio::test]
async fn a_csv_field_is_no_longer_than_a_line_and_the_one_that_is_gets_named() {
    let db = TestDb::new().await;
    let long = "x".repeat(LONGEST + 1);
    let file = format!("semester_id,code,name\n1,S1,\n2,S2,\"{long}\"\n{long},S3,\n4,S4\n5,S5,five\n");
    let problem = "longer than 1048576 bytes; perhaps a quotation mark is missing at its end";
    let named = [
        format!("line 3: name: {problem}"),
        format!("line 4: semester_id: {problem}"),
        "line 5: 2 fields where the header has 3".to_owned(),
    ];
    let (exit, output, complaints) = import(&db, "semesters", CSV, &file).await;
    assert_eq!((exit, lines(&complaints)), (2, named.iter().map(String::as_str).collect()), "{output}");
    assert!(complaints.contains("nothing was imported"), "{complaints}");
    let stored = "select count(*) from seatkeeper.semesters";
    assert_eq!(db.value::<i64>(stored).await, 0);

    let going = [CSV, &["--keep-going"]].concat();
    let (exit, output, _) = import(&db, "semesters", &going, &file).await;
    assert_eq!((exit, output.as_str()), (2, "semesters: 2 added, 0 changed, 0 unchanged\n"));
}

#[tokio::test]
async fn a_quotation_mark_that_is_never_closed_is_found_where_it_stands() {
    let db = TestDb::new().await;
    let rest: String = (3..=100_000).map(|id| format!("{id},S{id},summer\n")).collect();
    let file = format!("semester_id,code,name\n1,S1,first\n\n2,\"S2,second\n{rest}");
    let (exit, _, complaints) = import(&db, "semesters", CSV, &file).await;
    assert_eq!(exit, 2);
    let named = "line 4: code: longer than 1048576 bytes; perhaps a quotation mark is missing at its end";
    assert_eq!(lines(&complaints), [named]);
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.semesters").await, 0);
}

#[tokio::test]
async fn the_header_is_no_longer_than_its_columns() {
    let db = TestDb::new().await;
    let long = "x".repeat(LONGEST + 1);
    for (header, complaint) in [
        (format!("user_id,{long}"), "line 1: column 2: longer than 1048576 bytes".to_owned()),
        (format!("user_id,{}", &long[1..]), format!("line 1: {}… (", "x".repeat(100))),
        (
            format!("user_id{}", ",user_id".repeat(LONGEST)),
            "line 1: user_id: the column is there twice".to_owned(),
        ),
    ] {
        let (exit, _, complaints) = import(&db, "users", CSV, format!("{header}\n1\n")).await;
        assert_eq!(exit, 2);
        assert!(complaints.contains(&complaint) && complaints.len() < 2000, "{}", complaints.len());
    }
    assert_eq!(counts(&db, "users", "\u{feff}user_id\r\n7\r\n").await, [1, 0, 0]);
}
