// graphile-worker: `setup`, `enqueue BATCH`, `work single` (a fetch and a completion for each job, as it comes) or
// `work batched` (its local queue and its batched completions).
import { Logger, makeWorkerUtils, run, runMigrations } from "graphile-worker";
import { AT_ONCE, allAsks, connectionString, counter, enroll, now, openPool, report, sendAll } from "./asks.mjs";

const [action, how] = process.argv.slice(2);
// A line for each job, which is its default, would be measured with the jobs.
const logger = new Logger(() => (level, message) => {
  if (level === "error" || level === "warning") console.error(message);
});

if (action === "setup") {
  await runMigrations({ connectionString, logger });
} else if (action === "enqueue") {
  const pool = await openPool(8);
  const utils = await makeWorkerUtils({ pgPool: pool, logger });
  await sendAll(await allAsks(pool), Number(how), async (call) => {
    if (call.length === 1) await utils.addJob("enroll", call[0]);
    else await utils.addJobs(call.map((payload) => ({ identifier: "enroll", payload })));
  });
  await utils.release();
  await pool.end();
} else if (action === "work") {
  const batched = {
    localQueue: { size: 500 },
    // Where its documentation says to begin.
    completeJobBatchDelay: 250,
    failJobBatchDelay: 250,
  };
  // Besides the jobs: fetching, completing, and listening.
  const pool = await openPool(AT_ONCE + 4);
  const asks = await allAsks(pool);
  const counted = counter(asks.length);
  const began = now();
  const runner = await run({
    pgPool: pool,
    logger,
    noHandleSignals: true,
    concurrency: AT_ONCE,
    preset: how === "batched" ? { worker: batched } : {},
    taskList: {
      enroll: async (payload) => {
        await enroll(pool, payload);
        counted.one();
      },
    },
  });
  report(began, await counted.all, asks.length);
  await runner.stop();
  await pool.end();
} else {
  throw new Error("usage: graphile-worker.mjs setup | enqueue BATCH | work (single | batched)");
}
