/**
 * The frame that opens each transaction on a connection between gateways: for whom it is, with which settings, and how
 * often it has been forwarded. Only a connection that has proved to be a gateway may send it.
 */
import * as z from 'zod';
import { Front, frame } from '../pgwire/frames.ts';

const identitySchema = z.strictObject({
  user: z.string().min(1).max(63),
  tenant: z.string().max(200).optional(),
  settings: z.array(z.tuple([z.string().max(128), z.string().max(4096)])).max(64),
  hops: z.int().min(1).max(8),
  poolMode: z.enum(['transaction', 'session']),
});

export type Identity = z.output<typeof identitySchema>;

export function identityFrame(identity: Identity): Buffer {
  return frame(Front.identity, Buffer.from(JSON.stringify(identity)));
}

/** @returns undefined when the body is not an identity. */
export function parseIdentity(body: Buffer): Identity | undefined {
  try {
    const parsed = identitySchema.safeParse(JSON.parse(body.toString('utf8')));
    return parsed.success ? parsed.data : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
