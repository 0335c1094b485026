/**
 * The process of the links: one for the cluster, beside its supervisor, so that the traffic between regions costs
 * neither the supervisor nor a test that started the cluster in its own process. It ends with its parent.
 */
import { describe } from '../base/errors.ts';
import { realWorld } from '../base/world.ts';
import type { LinkConditions } from './link.ts';
import { type LinkRoute, type LinkStatus, Links } from './links.ts';

export type LinkOrder =
  | { readonly kind: 'listen'; readonly routes: readonly LinkRoute[] }
  | { readonly kind: 'change'; readonly from: string; readonly to: string; readonly conditions: LinkConditions }
  | { readonly kind: 'status' };

export type LinkMessage = LinkOrder & { readonly id: number };

export interface LinkReply {
  readonly id: number;
  readonly failure?: string;
  readonly status?: readonly LinkStatus[];
}

const links = new Links(realWorld);

async function obey(order: LinkOrder): Promise<readonly LinkStatus[] | undefined> {
  if (order.kind === 'listen') await Promise.all(order.routes.map(route => links.listen(route)));
  else if (order.kind === 'change') links.direction(order.from, order.to).change(order.conditions);
  else return links.status();
  return undefined;
}

// cast: the parent is our own code, LinksProcess below the same types
process.on('message', (message: LinkMessage) => {
  const reply = (answer: Omit<LinkReply, 'id'>) => process.send?.({ id: message.id, ...answer });
  obey(message).then(
    status => reply(status ? { status } : {}),
    (error: unknown) => reply({ failure: describe(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
