/** Workers that end before they have ever listened: tried again a few times, and then somebody is told. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { realWorld } from '../../src/base/world.ts';
import { Workers } from '../../src/gateway/workers.ts';

/** Worker 0 is well. Worker 1 does what the argument before `--worker` says. */
const WORKER = `
import { appendFileSync, readFileSync } from 'node:fs';
const [what, file, , index] = process.argv.slice(2);
const listen = () => {
  process.on('message', () => process.exit(0));
  process.send({ kind: 'ready', pg: 1, peer: 2 });
};
if (file) appendFileSync(file, index);
const starts = file ? readFileSync(file, 'utf8').split('1').length - 1 : 0;
if (index === '0') listen();
else if (what === 'speaks') process.send({ kind: 'failed', why: 'HP-X1 no certificate' }, () => process.exit(1));
else if (what === 'is silent') process.exit(7);
else if (what === 'takes four starts' && starts < 4) process.exit(1);
else listen();
`;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'homeport-workers-'));
  await writeFile(join(directory, 'worker.mjs'), WORKER);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

function workersThat(what: string): Workers {
  const args = [what, join(directory, what)];
  const log = pino({ level: 'silent' });
  return new Workers({ count: 2, entry: join(directory, 'worker.mjs'), args, world: realWorld, log });
}

test.each([
  ['speaks', 'HP-X1 no certificate'],
  ['is silent', 'it ended with exit code 7'],
])('a worker that never listens and %s is given up with HP-A111, and the others end', async (what, why) => {
  const workers = workersThat(what);
  await expect(workers.start()).rejects.toMatchObject({
    code: 'HP-A111',
    message: `worker 1 of the gateway ended 5 times before it was ready: ${why}`,
  });
  expect(workers.alive).toBe(0);
});

test('one that listens in the end is served with', async () => {
  const workers = workersThat('takes four starts');
  expect(await workers.start()).toMatchObject({ pg: 1, peer: 2 });
  expect(workers.alive).toBe(2);
  await workers.stop();
  expect(workers.alive).toBe(0);
});
