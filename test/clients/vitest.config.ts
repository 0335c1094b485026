import { defineConfig } from 'vitest/config';

/** `npm run test:clients`: what needs programs of the machine (psql, pgbench), and so is no part of `npm test`. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/clients/*.clients.ts'],
    testTimeout: 120_000,
    hookTimeout: 60_000,
  },
});
