import { describe, expect, test } from 'vitest';
import { Back } from '../../src/pgwire/frames.ts';
import { Expect, type Fake, ReplyQueue, Verdict } from '../../src/pgwire/replies.ts';

const LETTERS = { ...Expect };
type Kind = keyof typeof LETTERS;

function queueOf(...kinds: (Kind | [Kind, unknown])[]): ReplyQueue {
  const queue = new ReplyQueue();
  for (const kind of kinds) {
    if (typeof kind === 'string') queue.push(Expect[kind]);
    else queue.push(Expect[kind[0]], kind[1]);
  }
  return queue;
}

/** What becomes of each frame, and what was skipped. */
function feed(queue: ReplyQueue, ...types: (keyof typeof Back)[]) {
  const skipped: unknown[] = [];
  const verdicts = types.map(type => queue.accept(Back[type], (kind, extra) => skipped.push(extra ?? kind)));
  return { verdicts, skipped, left: queue.length };
}

const { forward, swallow, ready, failed, entered, enterFailed, silentDone, silentFailed, desynchronised, completed } =
  Verdict;

describe('a reply queue', () => {
  test.each<[string, Kind[], (keyof typeof Back)[], number[]]>([
    ['enter', ['enter'], ['bindComplete', 'dataRow', 'commandComplete'], [swallow, swallow, entered]],
    ['a silent query', ['silent'], ['commandComplete', 'ready'], [swallow, silentDone]],
    ['a silent query that fails', ['silent'], ['error', 'ready'], [silentFailed, silentDone]],
    ['a Parse', ['parse'], ['parseComplete'], [forward]],
    ['a Parse of ours', ['silentParse'], ['parseComplete'], [swallow]],
    ['a Bind', ['bind'], ['bindComplete'], [forward]],
    ['a Bind of ours', ['silentBind'], ['bindComplete'], [swallow]],
    ['a Describe', ['describe'], ['parameterDescription', 'rowDescription'], [forward, forward]],
    ['a Describe of nothing', ['describe'], ['noData'], [forward]],
    ['the description of a translated query', ['rowsOnly'], ['rowDescription'], [forward]],
    ['the same of none', ['rowsOnly'], ['noData'], [swallow]],
    ['an Execute', ['execute'], ['dataRow', 'commandComplete'], [forward, forward | completed]],
    ['an Execute in parts', ['execute'], ['dataRow', 'portalSuspended'], [forward, forward]],
    ['an Execute of nothing', ['execute'], ['emptyQuery'], [forward]],
    [
      'COPY out',
      ['execute'],
      ['copyOut', 'copyData', 'copyDone', 'commandComplete'],
      [forward, forward, forward, forward | completed],
    ],
    ['a Close', ['close', 'silentClose'], ['closeComplete', 'closeComplete'], [forward, swallow]],
    ['a Sync', ['sync'], ['ready'], [forward | ready]],
    ['a Sync that fails to commit', ['sync'], ['error', 'ready'], [forward | failed, forward | ready]],
    [
      'a query',
      ['query'],
      ['rowDescription', 'dataRow', 'commandComplete', 'ready'],
      [forward, forward, forward | completed, forward | ready],
    ],
    ['a query that fails', ['query'], ['error', 'ready'], [forward | failed, forward | ready]],
    ['a function call', ['functionCall'], ['functionResult', 'ready'], [forward, forward | ready]],
    ['an abort of ours by a query', ['abortQuery'], ['error', 'ready'], [swallow, forward | ready]],
  ])('knows the answers to %s', (_, kinds, types, verdicts) => {
    expect(feed(queueOf(...kinds), ...types)).toEqual({ verdicts, skipped: [], left: 0 });
  });

  test('skips to the next Sync after an error, queries too, the last one first', () => {
    const queue = queueOf(['parse', 'a'], ['bind', 'b'], ['query', 'q'], ['silentClose', 'c'], 'sync', [
      'parse',
      'next',
    ]);
    const { verdicts, skipped, left } = feed(queue, 'error');
    expect([verdicts, skipped, left]).toEqual([[forward | failed], ['c', 'q', 'b', 'a'], 2]);
    expect(feed(queue, 'ready', 'parseComplete').verdicts).toEqual([forward | ready, forward]);
  });

  test('takes the error of an abort of ours for itself', () => {
    const { verdicts } = feed(queueOf('abort', 'sync'), 'error', 'ready');
    expect(verdicts).toEqual([swallow, forward | ready]);
  });

  test('is empty after an error without a Sync, and says so', () => {
    const queue = queueOf('bind', 'execute');
    feed(queue, 'error');
    expect([queue.length, queue.hasSync()]).toEqual([0, false]);
  });

  test('counts what the server owes when enter fails in front of whole units', () => {
    const queue = queueOf('enter', 'query', 'execute', 'sync', 'parse', 'sync', 'query', 'bind');
    expect(feed(queue, 'error').verdicts).toEqual([enterFailed]);
    expect([queue.serverReadies, queue.openEnded]).toEqual([3, true]);
    expect([queueOf('sync', ['fake', {}]).openEnded, queueOf().openEnded]).toEqual([false, false]);
  });

  test('counts the answers of ours that the client waits for', () => {
    const fake = (isReady: boolean): Fake => ({ bytes: Buffer.alloc(0), ready: isReady });
    const queue = queueOf('query', ['fake', fake(false)], ['fake', fake(true)], 'execute');
    expect([queue.serverReadies, queue.clientReadies]).toEqual([1, 2]);
  });

  test('gives a fake only when it is at the head', () => {
    const queue = queueOf('parse', ['fake', { bytes: Buffer.from('x') }]);
    expect(queue.takeFake()).toBeUndefined();
    feed(queue, 'parseComplete');
    expect(queue.takeFake()?.toString()).toBe('x');
    expect(queue.takeFake()).toBeUndefined();
  });

  test('lets COPY swallow the Sync behind it, and only that', () => {
    const queue = queueOf(['execute', 'copy'], 'sync');
    expect([queue.dropSyncBehindHead(), queue.length, queue.headExtra]).toEqual([true, 1, 'copy']);
    expect(queue.dropSyncBehindHead()).toBe(false);
    expect(queueOf('execute', 'bind').dropSyncBehindHead()).toBe(false);
  });

  test('takes nothing that it does not owe', () => {
    for (const type of Object.values(Back)) expect(new ReplyQueue().accept(type, () => undefined)).toBe(desynchronised);
    for (const kind of ['enter', 'parse', 'bind', 'close', 'describe', 'execute', 'abort'] as const) {
      expect(queueOf(kind).accept(Back.ready, () => undefined)).toBe(desynchronised);
    }
    expect(queueOf('sync').accept(Back.dataRow, () => undefined)).toBe(desynchronised);
    expect(queueOf('query').accept(Back.parseComplete, () => undefined)).toBe(desynchronised);
  });

  test('keeps its order past its first size, wherever its head is', () => {
    const queue = new ReplyQueue();
    let out = 0;
    for (let n = 0; n < 1000; n++) {
      queue.push(Expect.parse, n);
      if (n % 3 === 0) {
        expect(queue.headExtra).toBe(out++);
        queue.accept(Back.parseComplete, () => undefined);
      }
    }
    const rest: unknown[] = [];
    queue.clear((_, extra) => rest.push(extra));
    expect(rest).toEqual(Array.from({ length: 1000 - out }, (_, i) => 999 - i));
  });
});
