//! The crash matrix: fail point × kind × first, middle, last of a batch × alone, contended.
//!
//! In each cell a process dies by SIGKILL between two steps, with a batch of three in hand in which a request of the kind is
//! where the cell says. Alone, it kills itself; contended, it stands still at the point until another worker, an owner who wants
//! the lane, and somebody who wants the user are seen to wait for it, and is killed then. Behind a commit all of the
//! batch is there, before it nothing; those who come after answer everything, once, and the audit works out the same.
//!
//! `make test` hits as many cells as it takes for every pair (every point with every kind, every kind in every place, …);
//! with `SEATKEEPER_TEST_SCALE` above 1 it is every cell.

mod cells;
mod company;
mod points;
mod round;
mod stage;
mod victim;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use futures::StreamExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use seatkeeper_jobs::Kind;

use crate::model::{scaled, seed};
use cells::{Cell, Hits};
use company::Seen;
use points::POINTS;
use round::{Round, Who};
use stage::Corner;

/// Cells that share a database: the audit works out all that happened in it, after each.
const TOGETHER: usize = 24;
/// Databases at a time.
const AT_A_TIME: usize = 4;

/// Hits these cells, in an order of chance; gives what was hit and what was seen.
async fn hit(mut cells: Vec<Cell>, who: Who, seed: u64) -> (Hits, Seen) {
    cells.shuffle(&mut StdRng::seed_from_u64(seed));
    let groups: VecDeque<Vec<Cell>> = cells.chunks(TOGETHER).map(<[Cell]>::to_vec).collect();
    let done = Mutex::new((Hits::default(), Seen::new()));
    futures::stream::iter(groups.into_iter().enumerate())
        .for_each_concurrent(AT_A_TIME, |(group, cells)| {
            let done = &done;
            async move {
                let mut random = StdRng::seed_from_u64(seed.wrapping_add(u64::try_from(group).unwrap()));
                let db = stage::lay_out(cells.len()).await;
                for (number, cell) in cells.into_iter().enumerate() {
                    let mut seen = Seen::new();
                    let round = Round::prepare(&db, cell, Corner::new(number), &mut random).await;
                    round.hit(who, &format!("victim-{group}-{number}"), &mut seen).await;
                    let mut done = done.lock().unwrap();
                    done.0.add(cell);
                    for (what, times) in seen {
                        *done.1.entry(what).or_default() += times;
                    }
                }
                db.assert_sound().await;
            }
        })
        .await;
    done.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_between_two_steps_leaves_all_of_the_batch_or_nothing() {
    let seed = seed();
    println!("seed {seed}");
    let whole = scaled(1) > 1;
    let cells = if whole { cells::whole() } else { cells::pairwise() };
    let began = Instant::now();
    let (hits, seen) = hit(cells.clone(), Who::Turn, seed).await;
    println!("{hits} in {:.1} s\n{seen:?}", began.elapsed().as_secs_f64());
    assert_eq!(hits.missing(&cells), Vec::<String>::new(), "seed {seed}: cells that were not hit");
    assert_eq!(hits.pairs_missing(), Vec::<String>::new(), "seed {seed}: pairs that were not hit");
    assert_eq!(whole, hits.missing(&cells::whole()).is_empty());
    for what in ["waits for the lane", "waits for a user", "waits for the request", "workers kept out"] {
        assert!(seen.contains_key(what), "seed {seed}: nobody {what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_itself_may_die_at_every_point() {
    let seed = seed();
    println!("seed {seed}");
    let turn = usize::try_from(seed).unwrap();
    let kinds = Kind::ALL.len();
    let cell =
        |point: usize| Cell { point, kind: (turn + point) % kinds, place: (turn + point) % 3, company: 0 };
    let cells: Vec<Cell> = (0..POINTS.len()).map(cell).collect();
    let began = Instant::now();
    let (hits, _) = hit(cells.clone(), Who::Program, seed).await;
    println!("{hits} in {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(hits.missing(&cells), Vec::<String>::new(), "seed {seed}: points that were not hit");
}
