//! One schedule: real transactions, one statement at a time, each let go when it is that actor's turn.
//!
//! A statement that does not come back is looked at from the third connection: when the server says that it waits for a lock,
//! its actor is not eligible until whoever it waits for has let go.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use super::actor::{Actor, Seen, Standing, Task};
use super::event::{Event, is_beginning, is_end};
use super::guard::Guard;
use super::observer::Observer;
use crate::support::PATIENCE;

/// A statement that has not come back by then is looked at.
const LOOK: Duration = Duration::from_millis(3);
/// So many meet at most.
const MOST: usize = 3;
/// A schedule longer than this has gone astray.
const LONGEST: usize = 1_000;

/// What a schedule came to.
#[derive(Debug, Default)]
pub struct Run {
    pub events: Vec<Event>,
    /// Abandoned: the rest of it has been seen in another schedule.
    pub cut_short: bool,
    /// Statements that waited for a lock.
    pub waits: usize,
    pub deadlocks: usize,
    /// How the actors ended.
    pub ended: Vec<String>,
    /// What happened, in words.
    pub log: Vec<String>,
}

impl Run {
    /// The letters of the actors in the order of their statements.
    pub fn letters(&self) -> String {
        self.events.iter().map(|event| letter(event.actor)).collect()
    }
}

/// What an actor is called.
pub fn letter(actor: usize) -> char {
    ['A', 'B', 'C'][actor]
}

/// The actors on their connections.
pub struct Theatre {
    actors: Vec<Actor>,
    observer: Observer,
    /// How many take part in this schedule.
    cast: usize,
}

impl Theatre {
    pub async fn new(server: &PgConnectOptions, observer: Observer, without: Option<&Guard>) -> Self {
        let mut actors = Vec::new();
        for actor in 0..MOST {
            actors.push(Actor::new(letter(actor), server, without).await);
        }
        Self { actors, observer, cast: 0 }
    }

    /// Plays a schedule. `choose` gets who is eligible, and what has happened so far; `None` abandons it.
    /// With `every_statement`, those that nobody notices are chosen, too; else they come at once.
    pub async fn play(
        &mut self,
        tasks: &[Task],
        every_statement: bool,
        mut choose: impl FnMut(&[usize], &[Event]) -> Option<usize>,
    ) -> Run {
        self.cast = tasks.len();
        let mut run = Run::default();
        for (actor, task) in tasks.iter().enumerate() {
            self.actors[actor].start(task);
            self.advance(actor, every_statement).await;
        }
        loop {
            let cast = &self.actors[..self.cast];
            let held = |actor: &usize| matches!(cast[*actor].standing, Standing::Held(_));
            let eligible: Vec<usize> = (0..cast.len()).filter(held).collect();
            let waits = cast.iter().any(|actor| matches!(actor.standing, Standing::Waits(_)));
            if (eligible.is_empty() && waits) || self.is_deadlocked() {
                run.deadlocks += 1;
                run.log.push("they wait for each other: a deadlock".into());
                self.outlast_deadlock(&mut run, every_statement).await;
                continue;
            }
            if eligible.is_empty() {
                break;
            }
            assert!(run.events.len() < LONGEST, "endless: {}", run.letters());
            let chosen = if run.cut_short { None } else { choose(&eligible, &run.events) };
            run.cut_short |= chosen.is_none();
            self.step(chosen.unwrap_or(eligible[0]), &mut run, every_statement).await;
        }
        run.ended = self.actors[..self.cast].iter().map(|actor| actor.ended.clone()).collect();
        run
    }

    /// Lets the actor's statement go, until it is done or waits.
    async fn step(&mut self, chosen: usize, run: &mut Run, every_statement: bool) {
        let actor = &self.actors[chosen];
        let Standing::Held(trip) = &actor.standing else { unreachable!("only who is held is chosen") };
        let mut event = Event::of(chosen, &trip.sql, actor.is_outside);
        if event.ends {
            event.rows.clone_from(&actor.rows);
            event.written = self.observer.written_tables(actor.pid).await;
        }
        event.unknown = true;
        let at = run.events.len();
        run.log.push(format!("{} {}", actor.letter, event.name));
        actor.let_go();
        run.events.push(event);
        self.actors[chosen].standing = Standing::Waits(at);
        self.look_at(chosen, run, every_statement).await;
        let event = &run.events[at];
        if matches!(self.actors[chosen].standing, Standing::Waits(_)) {
            run.waits += 1;
        } else if event.ends || event.unknown {
            self.look_at_all(run, every_statement).await;
        }
    }

    /// Who waited may have got what they waited for.
    async fn look_at_all(&mut self, run: &mut Run, every_statement: bool) {
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for actor in 0..self.cast {
                if matches!(self.actors[actor].standing, Standing::Waits(_)) {
                    changed |= self.look_at(actor, run, every_statement).await;
                }
            }
        }
    }

    /// Awaits that the statement is done, or waits for somebody. Whether it is done.
    async fn look_at(&mut self, actor: usize, run: &mut Run, every_statement: bool) -> bool {
        let Standing::Waits(at) = self.actors[actor].standing else { return false };
        loop {
            match tokio::time::timeout(LOOK, self.actors[actor].next()).await {
                Ok(Seen::Done { failed }) => {
                    self.finish(actor, at, failed, run, every_statement).await;
                    return true;
                }
                Ok(seen) => panic!(
                    "a statement that was let go is done before there is another: {seen:?} of {}, {}: {:#?}",
                    letter(actor),
                    self.actors[actor].ended,
                    run.log
                ),
                Err(_) => {
                    let pids: Vec<i32> = self.actors.iter().map(|actor| actor.pid).collect();
                    let blockers = self.observer.blockers(pids[actor], &pids).await;
                    self.actors[actor].blocked_by.clone_from(&blockers);
                    if !blockers.is_empty() {
                        let names: String = blockers.iter().map(|blocker| letter(*blocker)).collect();
                        run.log.push(format!("{} waits for {names}", letter(actor)));
                        run.events[at].waited_for.extend(blockers);
                        return false;
                    }
                }
            }
        }
    }

    /// Notes what the statement has done, and awaits the actor's next one.
    async fn finish(&mut self, who: usize, at: usize, failed: bool, run: &mut Run, every_statement: bool) {
        let event = &mut run.events[at];
        let actor = &mut self.actors[who];
        event.unknown = failed;
        if !event.waited_for.is_empty() || failed {
            run.log.push(format!(
                "{} {} {}",
                actor.letter,
                event.name,
                if failed { "failed" } else { "is done" }
            ));
        }
        if failed || event.ends {
            // An error gives the locks back at once.
            actor.rows.clear();
            actor.writes = false;
        } else if event.locks {
            let rows = self.observer.locked_rows(actor.pid).await;
            event.rows = rows.difference(&actor.rows).cloned().collect();
            actor.rows = rows;
            actor.writes |= event.writes;
        }
        self.advance(who, every_statement).await;
    }

    /// Awaits the actor's next statement that is worth a choice, or its end.
    async fn advance(&mut self, who: usize, every_statement: bool) {
        let actor = &mut self.actors[who];
        actor.standing = loop {
            match patiently(actor).await {
                Seen::Over => break Standing::Over,
                Seen::Done { .. } => unreachable!("nothing was let go"),
                Seen::Held(trip) => {
                    let is_over = is_end(&trip.sql) && !actor.writes && actor.rows.is_empty();
                    if every_statement || !(is_over || is_beginning(&trip.sql)) {
                        break Standing::Held(trip);
                    }
                    actor.let_go();
                    assert!(matches!(patiently(actor).await, Seen::Done { .. }));
                }
            }
        };
    }

    /// Whether somebody waits for those who wait for him. A third one may still have something to do.
    fn is_deadlocked(&self) -> bool {
        let waits = |actor: usize| matches!(self.actors[actor].standing, Standing::Waits(_));
        (0..self.cast).filter(|actor| waits(*actor)).any(|actor| {
            let mut reached = BTreeSet::new();
            let mut ahead = vec![actor];
            while let Some(next) = ahead.pop() {
                let beyond = self.actors[next].blocked_by.iter().copied().filter(|other| waits(*other));
                ahead.extend(beyond.filter(|other| reached.insert(*other)));
            }
            reached.contains(&actor)
        })
    }

    /// PostgreSQL ends one of the transactions.
    async fn outlast_deadlock(&mut self, run: &mut Run, every_statement: bool) {
        loop {
            for actor in 0..self.cast {
                let Standing::Waits(at) = self.actors[actor].standing else { continue };
                if let Ok(seen) = tokio::time::timeout(LOOK, self.actors[actor].next()).await {
                    let Seen::Done { failed } = seen else { unreachable!("it waited") };
                    self.finish(actor, at, failed, run, every_statement).await;
                    self.look_at_all(run, every_statement).await;
                    return;
                }
            }
        }
    }
}

async fn patiently(actor: &mut Actor) -> Seen {
    tokio::time::timeout(PATIENCE, actor.next()).await.expect("an actor neither goes on nor ends")
}
