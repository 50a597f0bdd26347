// pg-boss: `setup`, `enqueue BATCH`, `work BATCH` (so many in a fetch, and the next fetch at once while they come full).
import { PgBoss } from "pg-boss";
import { AT_ONCE, allAsks, connectionString, counter, enroll, now, openPool, report, sendAll } from "./asks.mjs";

const QUEUE = "enroll";
const [action, size] = process.argv.slice(2);

const boss = new PgBoss({ connectionString, max: action === "enqueue" ? 8 : 4 });
boss.on("error", (error) => console.error(error));
await boss.start();

if (action === "setup") {
  await boss.createQueue(QUEUE);
} else if (action === "enqueue") {
  const pool = await openPool(1);
  await sendAll(await allAsks(pool), Number(size), async (call) => {
    if (call.length === 1) await boss.send(QUEUE, call[0]);
    else await boss.insert(QUEUE, call.map((data) => ({ data })));
  });
  await pool.end();
} else if (action === "work") {
  const pool = await openPool(AT_ONCE);
  const asks = await allAsks(pool);
  const counted = counter(asks.length);
  const began = now();
  // Two of them: while one fetches and completes, the other's jobs run.
  const options = {
    batchSize: Number(size), localConcurrency: 2, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5,
  };
  await boss.work(QUEUE, options, async (jobs) => {
    await Promise.all(
      jobs.map(async (job) => {
        await enroll(pool, job.data);
        counted.one();
      }),
    );
  });
  report(began, await counted.all, asks.length);
  await boss.stop({ graceful: true });
  await pool.end();
} else {
  throw new Error("usage: pg-boss.mjs setup | enqueue BATCH | work BATCH");
}
await boss.stop({ graceful: true });
