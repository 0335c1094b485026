/** `homeport dev`: three regions on this machine, and what can be done to them. */
import type { Command } from 'commander';
import type { ControlRequest, LinkChange } from '../devcluster/control.ts';
import { type Cli, examples } from './context.ts';
import { DEFAULT_DIR, type DevOptions } from './dev-options.ts';

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

export function register(program: Command, cli: Cli): void {
  const dev = program
    .command('dev')
    .description('run three regions on this machine: Postgres, NATS and Homeport, with links that can fail')
    .option('--dir <dir>', 'where the cluster keeps everything', DEFAULT_DIR)
    .option('--detach', 'run in the background; homeport dev stop ends it')
    .option('--empty', 'without sample data')
    .option(
      '--rtt <from:to=time>',
      'round trip between two regions, such as eu-west:us-east=80ms (repeatable)',
      collect,
    )
    .option('--no-gateways', 'Postgres, NATS and links alone')
    .addHelpText(
      'after',
      examples(
        ['homeport dev', 'start, print the addresses, stop with Ctrl-C'],
        ['homeport dev --detach --json', 'in the background, addresses as one line of JSON'],
        ['homeport dev --rtt eu-west:us-east=80ms', 'with an ocean between two regions'],
        ['homeport dev kill us-east', 'lose a region; homeport dev start us-east brings it back'],
        ['homeport dev isolate ap-south', 'nothing flows to or from it; homeport dev heal ap-south'],
      ),
    );
  dev.addOption(dev.createOption('--background', 'the half of --detach that stays').hideHelp());
  dev.action(async () => {
    const { detach, up } = await import('./dev-up.ts');
    const options = dev.opts<DevOptions>();
    await (options.detach ? detach(cli, options) : up(cli, options));
  });
  registerRunning(dev, cli);
  registerFaults(dev, cli);
}

/** Commands about the cluster as a whole. */
function registerRunning(dev: Command, cli: Cli): void {
  dev
    .command('stop')
    .description('stop the cluster in order; its data stays')
    .action(async () => {
      const { stop } = await import('./dev-up.ts');
      await stop(cli, dev.opts<DevOptions>().dir);
    });
  dev
    .command('status')
    .description('what runs, where it listens, and what has been done to it')
    .action(() => tell(cli, dev, { do: 'status' }));
}

const TARGET = 'a region, or one of its processes such as eu-west/postgres';

function registerFaults(dev: Command, cli: Cli): void {
  const onTarget = (verb: 'kill' | 'pause' | 'resume' | 'start', summary: string) =>
    dev
      .command(verb)
      .description(summary)
      .argument('<target>', TARGET)
      .action((target: string) => tell(cli, dev, { do: verb, target }));
  onTarget('kill', 'SIGKILL, children too; it stays dead until it is started');
  onTarget('pause', 'SIGSTOP, children too');
  onTarget('resume', 'SIGCONT, after pause');
  onTarget('start', 'start again what was killed or has crashed, on its data');
  const onRegion = (verb: 'isolate' | 'heal', summary: string) =>
    dev
      .command(verb)
      .description(summary)
      .argument('<region>', 'eu-west, us-east or ap-south')
      .action((region: string) => tell(cli, dev, { do: verb, region }));
  onRegion('isolate', 'nothing flows between the region and the others; connections stay open');
  onRegion('heal', "end isolation, black holes and cuts of the region's links");
  registerLink(dev, cli);
}

interface LinkOptions {
  readonly delay?: string;
  readonly throttle?: string;
  readonly blackhole?: boolean;
  readonly cut?: boolean;
  readonly both?: boolean;
  readonly clear?: boolean;
}

function registerLink(dev: Command, cli: Cli): void {
  dev
    .command('link')
    .description('change the bytes that travel from one region to another')
    .argument('<from:to>', 'such as eu-west:us-east')
    .option('--delay <time>', 'how long they take, one way: 40ms')
    .option('--throttle <bytes>', 'bytes per second: 500k, 10M, or none')
    .option('--blackhole', 'hold them: connections stay open, nothing arrives')
    .option('--no-blackhole', 'let them flow again')
    .option('--cut', 'reset every connection between the two, and new ones')
    .option('--no-cut', 'let connections be made again')
    .option('--both', 'the other direction as well')
    .option('--clear', 'no delay, no limit, no fault; before what else is given')
    .addHelpText(
      'after',
      examples(
        ['homeport dev link eu-west:us-east --delay 40ms --both', 'a round trip of 80 ms'],
        ['homeport dev link us-east:eu-west --blackhole', 'answers are lost, requests arrive'],
        ['homeport dev link us-east:eu-west --clear --both', 'as it was'],
      ),
    )
    .action((link: string, options: LinkOptions) => changeLink(cli, dev, link, options));
}

async function changeLink(cli: Cli, dev: Command, link: string, options: LinkOptions): Promise<void> {
  const { parseDurationMs, parseLink, parseRate } = await import('../devcluster/faults.ts');
  const { from, to } = parseLink(link);
  const { delay, throttle, blackhole, cut } = options;
  const conditions: LinkChange = {
    ...(options.clear ? { delayMs: 0, bytesPerSecond: null, blackhole: false, cut: false } : {}),
    ...(delay === undefined ? {} : { delayMs: parseDurationMs(delay) }),
    ...(throttle === undefined ? {} : { bytesPerSecond: throttle === 'none' ? null : parseRate(throttle) }),
    ...(blackhole === undefined ? {} : { blackhole }),
    ...(cut === undefined ? {} : { cut }),
  };
  const links = options.both ? [`${from}:${to}`, `${to}:${from}`] : [`${from}:${to}`];
  await tell(cli, dev, ...links.map(name => ({ do: 'link', link: name, conditions }) as const));
}

/** Asks the launcher for each in turn and shows what has become of it. */
async function tell(cli: Cli, dev: Command, ...requests: ControlRequest[]): Promise<void> {
  const { ask } = await import('../devcluster/control.ts');
  const { statusText } = await import('./dev-report.ts');
  const { resolve } = await import('node:path');
  const dir = resolve(dev.opts<DevOptions>().dir);
  for (const [i, request] of requests.entries()) {
    const status = await ask(cli.world, dir, request);
    if (i === requests.length - 1) cli.output.result(status, statusText);
  }
}
