// BullMQ on Node, in the protocol of peer.py.
//
// Settings: concurrency 100 (default 1); one ioredis connection for each queue and worker, which is its own way and
// lets 100 jobs share a socket; lockDuration and stalledInterval 30 s, completed jobs kept for ever: its defaults.
// Acknowledges after the run. Bulk is addBulk. Source: its guide, "Workers: Concurrency".

import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';

// Modules live in the environment's folder, not beside this file.
const require = createRequire(path.join(process.env.PEER_MODULES, 'index.js'));
const { Queue, Worker } = require('bullmq');

const [, port] = /:(\d+)\//.exec(process.env.PEER_URL);
const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null };
const concurrency = Number(process.env.PEER_CONCURRENCY ?? '100');
const folder = process.env.PEER_FOLDER;
const BODY = 'x'.repeat(60);
const LEAD = 1.0;
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const monotonic = () => Number(process.hrtime.bigint()) / 1e9; // the clock of Python's time.monotonic()
const wall = () => (performance.timeOrigin + performance.now()) / 1000;

function work() {
  const count = fs.openSync(path.join(folder, `count-${process.pid}`), 'w');
  const log = fs.openSync(path.join(folder, `log-${process.pid}`), 'a');
  const tell = (...what) => fs.writeSync(log, `${what.join(' ')}\n`);
  const cell = new BigUint64Array(1);
  let done = 0;
  let shown = 0;
  setInterval(() => { // Node cannot map a file: shown every 2 ms, as often as the driver looks
    if (done === shown) return;
    cell[0] = BigInt((shown = done));
    fs.writeSync(count, new Uint8Array(cell.buffer), 0, 8, 0);
  }, 2);
  const jobs = {
    noop: async () => {},
    five: () => sleep(0.005),
    stamp: async (number) => tell('stamp', monotonic() - number),
    late: async (number) => tell('late', wall() - number),
    mark: async (number) => {
      tell('start', number, monotonic());
      await sleep(0.05);
      tell('end', number, monotonic());
    },
  };
  const process_ = async (job) => {
    await jobs[job.name](job.data.number, job.data.body);
    done += 1;
  };
  new Worker('bench', process_, { connection, concurrency }).on('error', (problem) => console.error(problem));
}

async function produce() {
  const queue = new Queue('bench', { connection });
  await queue.waitUntilReady();
  const add = (job, number, opts) => queue.add(job, { number, body: BODY }, opts);
  const bulk = async ({ job, count }) => {
    await queue.addBulk(Array.from({ length: count }, (_, number) => ({ name: job, data: { number, body: BODY } })));
  };
  const ways = {
    one: async ({ job, count }) => {
      for (let number = 0; number < count; number += 1) await add(job, number);
    },
    fifty: async ({ job, count }) => {
      const caller = async (first) => {
        for (let number = first; number < count; number += 50) await add(job, number);
      };
      await Promise.all(Array.from({ length: 50 }, (_, first) => caller(first)));
    },
    bulk,
    fill: async ({ job, count }) => {
      for (let left = count; left > 0; left -= 5000) await bulk({ job, count: Math.min(5000, left) });
    },
    paced: async ({ count, every }) => {
      for (let number = 0; number < count; number += 1) {
        await add('stamp', monotonic());
        await sleep(every);
      }
    },
    late: async ({ count, every }) => {
      const first = wall() + LEAD;
      for (let number = 0; number < count; number += 1) {
        const due = first + number * every;
        await add('late', due, { delay: Math.max(0, Math.ceil((due - wall()) * 1000)) });
      }
    },
  };
  const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
  say({ ready: true });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line);
    if (asked.do === 'exit') break;
    if (!ways[asked.do]) {
      say({ unsupported: 'not asked' });
      continue;
    }
    const before = process.cpuUsage();
    const started = monotonic();
    await ways[asked.do](asked);
    const seconds = monotonic() - started;
    const used = process.cpuUsage(before);
    say({ seconds, cpu: (used.user + used.system) / 1e6 });
  }
  process.exit(0);
}

if (process.argv[2] === 'work') work();
else if (process.argv[2] === 'produce') await produce();
else {
  console.error('usage: bullmq_node.mjs produce|work');
  process.exit(2);
}
