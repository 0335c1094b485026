/**
 * `homeport pin`, or `unpin`, in a process that kills itself (SIGKILL) right before its n-th effect: a visit to a shard or a
 * write to the directory. `node pin-until.ts <config> <n> pin|unpin <tenant> [<shard>]`. It prints how many there were
 * when it came to its end.
 */
import { parseTenantKey } from '../../src/base/ids.ts';
import { realWorld } from '../../src/base/world.ts';
import { loadConfig } from '../../src/config/load.ts';
import { pin, unpin } from '../../src/control/pins.ts';
import { ControlPlane } from '../../src/control/plane.ts';
import { silentLogger } from '../../src/observe/log.ts';

const [file, dies = '', command, tenant = '', shard = ''] = process.argv.slice(2);
let effects = 0;

function count(): void {
  if (++effects === Number(dies)) process.kill(process.pid, 'SIGKILL');
}

const config = loadConfig({ file, env: {} });
const author = { who: 'who dies', why: 'a crash' };
const plane = await ControlPlane.open({ config, world: realWorld, log: silentLogger, author });
const write = plane.store.write.bind(plane.store);
plane.store.write = (...args) => {
  count();
  return write(...args);
};
const onShard = plane.onShard.bind(plane);
plane.onShard = (id, work) => {
  count();
  return onShard(id, work);
};
const key = parseTenantKey(tenant);
await (command === 'unpin' ? unpin(plane, key) : pin(plane, key, plane.homeNamed(shard)));
await plane.close();
process.stdout.write(`${effects}\n`);
