// What is asked, and producers that ask for it at the same time. The database is that of DATABASE_URL.
import pg from "pg";

// Jobs at once, and connections for them: as many as the anchor has clients.
export const AT_ONCE = 32;
// Producers at once.
const PRODUCERS = 8;

export const connectionString = process.env.DATABASE_URL;

// Connections that are open already, so that they are not opened while the clock runs.
export async function openPool(max) {
  const pool = new pg.Pool({ connectionString, max, min: max });
  pool.on("error", (error) => console.error(error));
  pool.on("connect", (client) => client.on("error", (error) => console.error(error)));
  const open = await Promise.all(Array.from({ length: max }, () => pool.connect()));
  open.forEach((client) => client.release());
  return pool;
}

export async function allAsks(pool) {
  const { rows } = await pool.query(
    `select id, user_id::integer as "userId", semester_id::integer as "semesterId" from peers.ask order by number`,
  );
  return rows;
}

// The job: a transaction of its own for each request.
export async function enroll(pool, { id, userId, semesterId }) {
  await pool.query({ name: "enroll", text: "select usual.enroll($1, $2, $3)", values: [id, userId, semesterId] });
}

// Counts what is done; `all` is fulfilled with the instant at which everything was.
export function counter(expected) {
  const counted = { done: 0 };
  counted.all = new Promise((fulfil) => {
    counted.one = () => {
      counted.done += 1;
      if (counted.done === expected) fulfil(now());
    };
  });
  return counted;
}

export const now = () => (performance.timeOrigin + performance.now()) / 1000;

// Sends everything, so many in a call, by PRODUCERS at a time.
export async function sendAll(asks, batch, send) {
  const calls = [];
  for (let from = 0; from < asks.length; from += batch) calls.push(asks.slice(from, from + batch));
  let next = 0;
  const began = now();
  await Promise.all(
    Array.from({ length: PRODUCERS }, async () => {
      while (next < calls.length) await send(calls[next++]);
    }),
  );
  report(began, now(), asks.length);
}

export function report(began, ended, count) {
  console.log(JSON.stringify({ began, ended, count }));
}
