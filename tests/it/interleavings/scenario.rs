//! A scenario through all of its schedules: first one after the other, in every order; then every other way, which has to
//! come to one of the same.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;

use super::check::check;
use super::event::Event;
use super::explorer::{Explorer, Pruning};
use super::guard::Guard;
use super::matrix::{Scenario, permutations};
use super::observer::Observer;
use super::schedule::{Run, Theatre, letter};
use super::stage::Stage;

/// A database, and the actors on it.
pub struct House {
    pub stage: Stage,
    theatre: Theatre,
    /// Nothing was taken out: the roll call, which knows the guards, holds.
    is_guarded: bool,
}

/// Outcome → the serial orders that come to it, and how many schedules did.
type Outcomes = BTreeMap<String, (Vec<String>, usize)>;

/// The letters of a schedule that went wrong, and how it did.
type Failure = (String, Vec<String>);

/// How much of a scenario is explored.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// So many schedules of the search at most.
    pub schedules: usize,
    /// When it ends there, so many more, drawn at random.
    pub drawn: usize,
    pub seed: u64,
}

impl Budget {
    pub const ALL: Self = Self { schedules: usize::MAX, drawn: 0, seed: 0 };
}

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
    /// Whether the search ended at the budget, with schedules left.
    pub is_cut: bool,
    /// Those of the schedules that were drawn at random then.
    pub drawn: usize,
    pub outcomes: Outcomes,
    pub took: Duration,
    /// The first schedule that went wrong, and how.
    pub failure: Option<Failure>,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schedules, abandoned, statements, waited, .. } = self;
        write!(
            f,
            "{schedules} schedules ({statements} statements, {waited} with a lock wait, {abandoned} abandoned) in {:.1} s:",
            self.took.as_secs_f64()
        )?;
        if self.is_cut {
            write!(f, " CUT at the budget, {} of them drawn at random;", self.drawn)?;
        }
        for (orders, seen) in self.outcomes.values() {
            write!(f, " as {} {seen}", orders.join("="))?;
        }
        Ok(())
    }
}

impl House {
    /// Without a guard, if that is wanted.
    pub async fn new(guard: Option<&Guard>) -> Self {
        let stage = Stage::new().await;
        if let Some(guard) = guard {
            guard.take_from(&stage.db.pool).await;
        }
        let server: PgConnectOptions = stage.db.direct.parse().unwrap();
        let observer = Observer::new(sqlx::PgConnection::connect(&stage.db.direct).await.unwrap());
        let theatre = Theatre::new(&server, observer, guard).await;
        Self { stage, theatre, is_guarded: guard.is_none() }
    }

    /// Every schedule, or what the budget allows. The database is looked at after each, and after the last one as a whole.
    pub async fn explore(&mut self, scenario: &Scenario, pruning: Pruning, budget: Budget) -> Explored {
        let began = Instant::now();
        let mut explored = Explored::default();
        if let Err(failure) = self.explore_into(scenario, pruning, budget, &mut explored).await {
            explored.failure = Some(failure);
        } else if self.is_guarded {
            self.stage.db.assert_sound().await;
        }
        explored.took = began.elapsed();
        explored
    }

    async fn explore_into(
        &mut self,
        scenario: &Scenario,
        pruning: Pruning,
        budget: Budget,
        explored: &mut Explored,
    ) -> Result<(), Failure> {
        let tasks = self.stage.set(scenario).await;
        for order in permutations(tasks.len()) {
            self.stage.reset().await;
            let run = self
                .theatre
                .play(&tasks, false, |eligible, _| {
                    order.iter().find(|actor| eligible.contains(actor)).copied()
                })
                .await;
            let name = order.iter().map(|actor| letter(*actor)).collect();
            self.note_serial(scenario, &run, name, &mut explored.outcomes).await?;
        }
        // All workers begin with the first request that is ready, so orders of theirs are not all orders of the parts.
        for order in scenario.orders() {
            self.stage.reset().await;
            let ended = self.stage.one_by_one(scenario, &order).await;
            let name = order.iter().map(|part| (part + 1).to_string()).collect();
            let run = Run { ended, ..Run::default() };
            self.note_serial(scenario, &run, name, &mut explored.outcomes).await?;
        }

        let mut explorer = Explorer::new(pruning);
        while explored.schedules + explored.abandoned < budget.schedules {
            self.stage.reset().await;
            let Some(run) = explorer.next(&mut self.theatre, &tasks).await else { return Ok(()) };
            self.judge(scenario, &run, explored).await?;
        }
        // The search has not come back to its first statements: what is left of the budget is drawn from everywhere.
        explored.is_cut = true;
        let mut dice = ChaCha8Rng::seed_from_u64(budget.seed);
        for _ in 0..budget.drawn {
            self.stage.reset().await;
            let choose = |eligible: &[usize], _: &[Event]| eligible.choose(&mut dice).copied();
            let run = self.theatre.play(&tasks, false, choose).await;
            explored.drawn += 1;
            self.judge(scenario, &run, explored).await?;
        }
        Ok(())
    }

    /// What a serial order comes to.
    async fn note_serial(
        &self,
        scenario: &Scenario,
        run: &Run,
        name: String,
        outcomes: &mut Outcomes,
    ) -> Result<(), Failure> {
        let outcome = check(&self.stage.db, scenario, run).await;
        let outcome = outcome.map_err(|mut wrong| {
            wrong.insert(0, format!("one after the other, as {name}"));
            (run.letters(), wrong)
        })?;
        outcomes.entry(outcome).or_default().0.push(name);
        Ok(())
    }

    /// Looks at a schedule that has been played.
    async fn judge(
        &mut self,
        scenario: &Scenario,
        run: &Run,
        explored: &mut Explored,
    ) -> Result<(), Failure> {
        explored.statements += run.events.len();
        if run.cut_short {
            explored.abandoned += 1;
            return Ok(());
        }
        explored.schedules += 1;
        explored.waited += usize::from(run.waits > 0);
        let outcome = check(&self.stage.db, scenario, run).await.map_err(|wrong| (run.letters(), wrong))?;
        if let Some((_, seen)) = explored.outcomes.get_mut(&outcome) {
            *seen += 1;
            return Ok(());
        }
        let mut wrong = vec!["comes to what no serial order comes to".to_owned()];
        for (serial, (orders, _)) in &explored.outcomes {
            wrong.extend(difference(serial, &outcome, &orders.join("=")));
        }
        Err((run.letters(), wrong))
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
