//! A scenario through all of its schedules: first one after the other, in every order; then every other way, which has to
//! come to one of the same.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;

use super::check::check;
use super::explorer::{Explorer, Pruning};
use super::matrix::Scenario;
use super::observer::Observer;
use super::schedule::{Run, Theatre, letter};
use super::stage::Stage;

/// A database, and the actors on it.
pub struct House {
    pub stage: Stage,
    theatre: Theatre,
}

/// Outcome → the serial orders that come to it, and how many schedules did.
type Outcomes = BTreeMap<String, (Vec<String>, usize)>;

/// What came of a scenario.
#[derive(Debug, Default)]
pub struct Explored {
    /// Schedules that were played to the end and looked at.
    pub schedules: usize,
    /// Schedules abandoned, since the rest was seen in another one.
    pub abandoned: usize,
    /// Statements let go one by one, in all of them.
    pub statements: usize,
    /// Schedules in which somebody waited for a lock.
    pub waited: usize,
    pub outcomes: Outcomes,
    pub took: Duration,
    /// The first schedule that went wrong, and how.
    pub failure: Option<(String, Vec<String>)>,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schedules, abandoned, statements, waited, .. } = self;
        write!(
            f,
            "{schedules} schedules ({statements} statements, {waited} with a lock wait, {abandoned} abandoned) in {:.1} s:",
            self.took.as_secs_f64()
        )?;
        for (orders, seen) in self.outcomes.values() {
            write!(f, " as {} {seen}", orders.join("="))?;
        }
        Ok(())
    }
}

impl House {
    pub async fn new() -> Self {
        let stage = Stage::new().await;
        let server: PgConnectOptions = stage.db.direct.parse().unwrap();
        let observer = Observer::new(sqlx::PgConnection::connect(&stage.db.direct).await.unwrap());
        let theatre = Theatre::new(&server, observer).await;
        Self { stage, theatre }
    }

    /// Every schedule. The database is looked at after each, and after the last one as a whole.
    pub async fn explore(&mut self, scenario: &Scenario, pruning: Pruning) -> Explored {
        let began = Instant::now();
        let mut explored = Explored::default();
        let tasks = self.stage.set(scenario).await;
        for order in [[0, 1], [1, 0]] {
            self.stage.reset().await;
            let run = self
                .theatre
                .play(&tasks, false, |eligible, _| {
                    order.iter().find(|actor| eligible.contains(actor)).copied()
                })
                .await;
            let name = order.iter().map(|actor| letter(*actor)).collect();
            if let Err(wrong) = self.note_serial(scenario, &run, name, &mut explored.outcomes).await {
                explored.failure = Some((run.letters(), wrong));
                return explored;
            }
        }
        // Both workers begin with the first request, so in no order of theirs is the second one answered first.
        if scenario.either_first() {
            self.stage.reset().await;
            self.stage.answer_second_first().await;
            let name = "2nd first".to_owned();
            if let Err(wrong) =
                self.note_serial(scenario, &Run::default(), name, &mut explored.outcomes).await
            {
                explored.failure = Some((String::new(), wrong));
                return explored;
            }
        }

        let mut explorer = Explorer::new(pruning);
        loop {
            self.stage.reset().await;
            let Some(run) = explorer.next(&mut self.theatre, &tasks).await else { break };
            explored.statements += run.events.len();
            if run.cut_short {
                explored.abandoned += 1;
                continue;
            }
            explored.schedules += 1;
            explored.waited += usize::from(run.waits > 0);
            if let Err(wrong) = self.judge(scenario, &run, &mut explored.outcomes).await {
                explored.failure = Some((run.letters(), wrong));
                return explored;
            }
        }
        self.stage.db.assert_sound().await;
        explored.took = began.elapsed();
        explored
    }

    /// What a serial order comes to.
    async fn note_serial(
        &self,
        scenario: &Scenario,
        run: &Run,
        name: String,
        outcomes: &mut Outcomes,
    ) -> Result<(), Vec<String>> {
        let outcome = check(&self.stage.db, scenario, run).await?;
        outcomes.entry(outcome).or_default().0.push(name);
        Ok(())
    }

    async fn judge(
        &mut self,
        scenario: &Scenario,
        run: &Run,
        outcomes: &mut Outcomes,
    ) -> Result<(), Vec<String>> {
        let outcome = check(&self.stage.db, scenario, run).await?;
        match outcomes.get_mut(&outcome) {
            Some((_, seen)) => *seen += 1,
            None => {
                let mut wrong = vec!["comes to what no serial order comes to".to_owned()];
                for (serial, (orders, _)) in &*outcomes {
                    wrong.extend(difference(serial, &outcome, &orders.join("=")));
                }
                return Err(wrong);
            }
        }
        Ok(())
    }

    /// The first schedule in which this happens.
    pub async fn first_that(
        &mut self,
        scenario: &Scenario,
        happens: &str,
    ) -> (Run, Result<String, Vec<String>>) {
        let tasks = self.stage.set(scenario).await;
        let mut explorer = Explorer::new(Pruning::Commuting);
        loop {
            self.stage.reset().await;
            let run = explorer.next(&mut self.theatre, &tasks).await;
            let run = run.unwrap_or_else(|| panic!("{scenario}: in no schedule: {happens}"));
            if !run.cut_short && run.log.iter().any(|line| line == happens) {
                let checked = check(&self.stage.db, scenario, &run).await;
                return (run, checked);
            }
        }
    }

    /// One schedule again, by its letters: what happened, and what came of it.
    pub async fn replay(&mut self, scenario: &Scenario, letters: &str) -> (Run, Result<String, Vec<String>>) {
        let tasks = self.stage.set(scenario).await;
        self.stage.reset().await;
        let chosen: Vec<char> = letters.chars().collect();
        let run =
            self.theatre
                .play(&tasks, false, |eligible, events| {
                    let due = chosen.get(events.len());
                    let due = due.and_then(|due| eligible.iter().find(|actor| letter(**actor) == *due));
                    Some(*due.unwrap_or_else(|| {
                        panic!("the schedule {letters} ends or leads astray: {events:#?}")
                    }))
                })
                .await;
        let checked = check(&self.stage.db, scenario, &run).await;
        (run, checked)
    }
}

/// The lines in which an outcome differs from that of a serial order.
fn difference(serial: &str, outcome: &str, order: &str) -> Vec<String> {
    let lines = |of: &str, but: &str, mark: &str| {
        let others: Vec<&str> = but.lines().collect();
        of.lines()
            .filter(|line| !others.contains(line))
            .map(|line| format!("  {mark} {line}"))
            .collect::<Vec<_>>()
    };
    [lines(serial, outcome, &format!("as {order}:")), lines(outcome, serial, "here:")].concat()
}
