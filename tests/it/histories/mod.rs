//! Recorded histories: what was asked, what owners changed, and every answer, to be given again word for word.
//!
//! A refactoring of the frozen folders changes no answer: it replays the files in `tests/histories/` to identical
//! answers and an identical end, in batches of every size. Whoever changes a rule on purpose records them anew
//! (`SEATKEEPER_RECORD_HISTORY=1`) in a commit that says so, and the difference shows what the change did.

mod draw;
mod player;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seatkeeper_jobs::{Kind, Reason};

use player::{Ask, Player};

/// How many runs a recorded history has.
const RUNS: usize = 1_000;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

fn recorded() -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "history"));
    let named = |path: PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
    };
    files.map(named).collect()
}

/// Plays the history again in batches of this size; gives the text that it makes.
async fn played(text: &str, batch: usize) -> String {
    let mut player = Player::new(batch).await;
    let mut again = String::new();
    let mut run = Vec::new();
    for line in text.lines() {
        if let Some(ask) = line.strip_prefix("ask ") {
            run.push(Ask::parse(ask.split_once(" => ").unwrap().0));
            continue;
        }
        if !run.is_empty() {
            again += &player.run(&std::mem::take(&mut run)).await;
        }
        if let Some(sql) = line.strip_prefix("sql ") {
            player.sql(sql).await;
            writeln!(again, "{line}").unwrap();
        } else if line.starts_with("end ") {
            writeln!(again, "end {}", player.end().await).unwrap();
        } else {
            writeln!(again, "{line}").unwrap();
        }
    }
    assert!(run.is_empty(), "a history ends with its end");
    player.assert_follows().await;
    again
}

async fn replays_in_batches_of(batch: usize) {
    let files = recorded();
    assert!(!files.is_empty(), "no history is recorded");
    for (name, text) in files {
        let again = played(&text, batch).await;
        for (number, (was, is)) in text.lines().zip(again.lines()).enumerate() {
            assert_eq!(is, was, "{name}, line {}, in batches of {batch}", number + 1);
        }
        assert_eq!(again.lines().count(), text.lines().count(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_replay_to_identical_answers_one_at_a_time() {
    replays_in_batches_of(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_replay_to_identical_answers_in_small_batches() {
    replays_in_batches_of(7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_replay_to_identical_answers_in_large_batches() {
    replays_in_batches_of(500).await;
}

/// What is not in any history is not held by them.
#[tokio::test(flavor = "multi_thread")]
async fn histories_have_every_answer_of_every_kind() {
    if std::env::var_os("SEATKEEPER_RECORD_HISTORY").is_some() {
        record().await;
    }
    let mut seen = BTreeSet::new();
    for (_, text) in recorded() {
        for line in text.lines().filter_map(|line| line.strip_prefix("ask ")) {
            let (ask, answer) = line.split_once(" => ").unwrap();
            let kind = ask.split(' ').next().unwrap().trim_end_matches('!');
            let answer = answer
                .split(' ')
                .take_while(|word| !word.starts_with('{') && *word != "null")
                .collect::<Vec<_>>();
            seen.insert(format!("{kind} {}", answer.join(" ")));
        }
    }
    let mut expected = BTreeSet::new();
    for kind in Kind::ALL {
        expected.insert(format!("{} applied", kind.as_str()));
        // Up to the limit of balances it is a million grants, and what a hand writes instead follows from nothing: that is held by
        // `model::rich`.
        let refusals = kind.refusals().iter().filter(|reason| **reason != Reason::BalanceLimit);
        expected.extend(refusals.map(|reason| format!("{} refused {}", kind.as_str(), reason.as_str())));
    }
    let missing: Vec<_> = expected.difference(&seen).collect();
    assert!(missing.is_empty(), "never seen: {missing:#?}; seen: {seen:#?}");
}

/// Writes a history of this build's answers.
async fn record() {
    let seed: u64 = std::env::var("SEATKEEPER_TEST_SEED")
        .map_or_else(|_| rand::rng().random(), |seed| seed.parse().unwrap());
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    let mut player = Player::new(25).await;
    let mut text = format!("# Recorded with seed {seed}\n");
    for sql in draw::stage() {
        player.sql(&sql).await;
        writeln!(text, "sql {sql}").unwrap();
    }
    for _ in 0..RUNS {
        if random.random_ratio(1, 3) {
            let sql = draw::change(random);
            player.sql(&sql).await;
            writeln!(text, "sql {sql}").unwrap();
        }
        text += &player.run(&draw::run(random, player.known())).await;
        // Runs that follow each other are told apart: what is asked at once is one lane's.
        text += "\n";
    }
    writeln!(text, "end {}", player.end().await).unwrap();
    std::fs::write(folder().join(format!("{seed}.history")), text).unwrap();
}
