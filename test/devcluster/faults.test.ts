import { expect, test } from 'vitest';
import { LinkFaults, parseDurationMs, parseLink, parseRate, parseRtt } from '../../src/devcluster/faults.ts';

const isSilent = (faults: LinkFaults, link: string) => faults.effective(parseLink(link)).blackhole;

test('healing one of two isolated regions does not open the way between them', () => {
  const faults = new LinkFaults();
  faults.isolate('eu-west');
  faults.isolate('us-east');
  faults.heal('eu-west');
  expect(isSilent(faults, 'eu-west:us-east')).toBe(true);
  expect(isSilent(faults, 'eu-west:ap-south')).toBe(false);
  faults.heal('us-east');
  expect(faults.all().some(({ conditions }) => conditions.blackhole)).toBe(false);
});

test('healing ends cuts and black holes of the region and keeps latency and bandwidth', () => {
  const faults = new LinkFaults();
  faults.rtt(parseRtt('eu-west:us-east=80ms'));
  faults.set(parseLink('us-east:eu-west'), { cut: true, blackhole: true, bytesPerSecond: 1000 });
  faults.set(parseLink('us-east:ap-south'), { cut: true });
  faults.heal('eu-west');
  const healed = { delayMs: 40, bytesPerSecond: 1000, blackhole: false, cut: false };
  expect(faults.effective(parseLink('us-east:eu-west'))).toEqual(healed);
  expect(faults.effective(parseLink('us-east:ap-south')).cut).toBe(true);
});

test.each([
  ['80ms', 80],
  ['1.5s', 1500],
  ['40', 40],
])('the duration %s is %d ms', (text, ms) => expect(parseDurationMs(text)).toBe(ms));

test.each([
  ['500k', 500_000],
  ['10M', 10_000_000],
  ['1', 1],
])('the rate %s is %d bytes per second', (text, rate) => expect(parseRate(text)).toBe(rate));

test.each(['eu-west', 'eu-west:', 'eu-west:eu-west', 'eu-west:us-east:ap-south'])('%s is not a link', text => {
  expect(() => parseLink(text)).toThrow(expect.objectContaining({ code: 'HP-L125' }));
});

test.each(['eu-west:us-east', 'eu-west:us-east=fast', 'eu-west:us-east=-1ms', 'eu-west:us-east=9999s'])(
  '%s is not a round trip',
  text => expect(() => parseRtt(text)).toThrow(expect.objectContaining({ code: 'HP-L125' })),
);

test('a region that does not exist is named with those that do', () => {
  expect(() => parseLink('eu-west:mars')).toThrow(expect.objectContaining({ code: 'HP-L122' }));
});
