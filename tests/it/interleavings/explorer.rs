//! Every schedule, once: a depth-first search that keeps no states, only the choices made, and replays them from a reset
//! database.
//!
//! Schedules that differ only in the order of statements which commute ([`Event::depends_on`]) come to the same, and one of
//! them stands for all (dynamic partial-order reduction): wherever two statements of different actors depend on each other,
//! the other order is explored as well, from the point before the first of the two; and what was explored there *sleeps* in
//! the branches beside it until something that it depends on has happened. A test compares the outcomes with those of all
//! schedules, statement by statement, nothing left out.

use std::collections::{BTreeMap, BTreeSet};

use super::actor::Task;
use super::event::Event;
use super::schedule::{Run, Theatre};

/// Before a statement was chosen.
#[derive(Debug)]
struct Node {
    eligible: Vec<usize>,
    chosen: usize,
    /// To be explored from here.
    due: BTreeSet<usize>,
    /// Explored from here, with what was then seen of them.
    done: BTreeMap<usize, Event>,
    /// Explored elsewhere.
    asleep: BTreeMap<usize, Event>,
}

/// How much is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pruning {
    /// Statements that commute are explored in one order.
    Commuting,
    /// Nothing is: every statement in every order.
    Nothing,
}

/// The choices so far.
#[derive(Debug)]
pub struct Explorer {
    pruning: Pruning,
    path: Vec<Node>,
    over: bool,
}

impl Explorer {
    pub fn new(pruning: Pruning) -> Self {
        Self { pruning, path: Vec::new(), over: false }
    }

    /// The next schedule, on a database that has been reset; `None` when there are no more.
    pub async fn next(&mut self, theatre: &mut Theatre, tasks: &[Task]) -> Option<Run> {
        if self.over {
            return None;
        }
        let every_statement = self.pruning == Pruning::Nothing;
        let run =
            theatre.play(tasks, every_statement, |eligible, events| self.choose(eligible, events)).await;
        if self.pruning == Pruning::Commuting {
            self.note_races(&run.events);
        }
        self.turn_back(&run.events);
        Some(run)
    }

    fn choose(&mut self, eligible: &[usize], events: &[Event]) -> Option<usize> {
        let at = events.len();
        if let Some(node) = self.path.get(at) {
            assert_eq!(node.eligible, eligible, "the same choices led elsewhere: {events:#?}");
            return Some(node.chosen);
        }
        let mut asleep = BTreeMap::new();
        if let (Some(before), Some(last), Pruning::Commuting) =
            (self.path.last(), events.last(), self.pruning)
        {
            let known = before.asleep.iter().chain(&before.done);
            let sleep_on = known.filter(|(actor, event)| **actor != last.actor && !event.depends_on(last));
            asleep.extend(sleep_on.map(|(actor, event)| (*actor, event.clone())));
        }
        // Who is at it goes on, if there is nothing against it: fewest switches first.
        let awake: Vec<usize> =
            eligible.iter().copied().filter(|actor| !asleep.contains_key(actor)).collect();
        let last = events.last().map(|event| event.actor);
        let chosen = last.filter(|last| awake.contains(last)).or(awake.first().copied())?;
        let due = match self.pruning {
            Pruning::Commuting => BTreeSet::from([chosen]),
            Pruning::Nothing => eligible.iter().copied().collect(),
        };
        let eligible = eligible.to_vec();
        self.path.push(Node { eligible, chosen, due, done: BTreeMap::new(), asleep });
        Some(chosen)
    }

    /// Where two statements depend on each other, the second one's actor has to be tried before the first.
    fn note_races(&mut self, events: &[Event]) {
        for (at, node) in self.path.iter_mut().enumerate() {
            let first = &events[at];
            for second in &events[at + 1..] {
                if second.actor == first.actor || !second.depends_on(first) {
                    continue;
                }
                if node.eligible.contains(&second.actor) {
                    node.due.insert(second.actor);
                } else {
                    // It waits or has not come so far: whoever may lead to it.
                    node.due.extend(&node.eligible);
                }
            }
        }
    }

    /// Back to the last point from which something is still to be explored.
    fn turn_back(&mut self, events: &[Event]) {
        while let Some(at) = self.path.len().checked_sub(1) {
            let node = &mut self.path[at];
            node.done.insert(node.chosen, events[at].clone());
            let open = |actor: &&usize| !node.done.contains_key(*actor) && !node.asleep.contains_key(*actor);
            if let Some(next) = node.due.iter().find(open).copied() {
                node.chosen = next;
                return;
            }
            self.path.pop();
        }
        self.over = true;
    }
}
