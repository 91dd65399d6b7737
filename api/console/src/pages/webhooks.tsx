import { useState } from 'preact/hooks';
import { listWebhooks } from '../../client/sdk.gen';
import type { Webhook } from '../../client/types.gen';
import { ask } from '../api';
import { useAsked } from '../asked';
import { count } from '../amount';
import { Badge } from '../parts/badge';
import { FailureBox } from '../parts/failure';
import { type Column, Table } from '../parts/table';
import { duration, Time } from '../parts/time';
import { href } from '../route';
import { may } from '../session';
import { useTitle } from '../title';
import { WebhookPage } from './webhook';
import { NewWebhook } from './webhook_forms';

const every = 2000; // hooks saves once a second how it fares

// Webhooks are all of them, or one if an id is given.
export function Webhooks({ id }: { id: string }) {
  if (!may('hooks:write')) {
    return (
      <>
        <h1>Webhooks</h1>
        <p>
          This key may not see webhooks: it lacks the scope <code>hooks:write</code>.
        </p>
      </>
    );
  }
  return id ? <WebhookPage id={id} key={id} /> : <All />;
}

function All() {
  useTitle('Webhooks');
  const { data, failure, loading, reload } = useAsked(readAll, [], every);
  const [creating, setCreating] = useState(false);
  // Without a HOOKS_KEY the api has no such path.
  if (failure?.code === 'not-found') {
    return (
      <>
        <h1>Webhooks</h1>
        <p>Webhooks are not set up here. Whoever runs the system sets HOOKS_KEY, and starts hooks.</p>
      </>
    );
  }
  return (
    <>
      <div class="section-head">
        <h1>Webhooks</h1>
        <button type="button" class="primary" onClick={() => setCreating(true)}>
          New webhook…
        </button>
      </div>
      {failure && <FailureBox failure={failure} again={reload} />}
      {!data && loading && <p class="faint">Loading…</p>}
      {data && <Table caption="Webhooks" columns={columns} rows={data} keyOf={(w) => w.id} empty="There is none yet." />}
      {creating && <NewWebhook changed={() => void reload()} onClose={() => setCreating(false)} />}
    </>
  );
}

// A tenant has 200 at most, so that its own are one page; a key of all tenants sees those of all.
async function readAll(): Promise<Webhook[]> {
  const all: Webhook[] = [];
  for (let after: string | undefined; ; ) {
    const page = await ask(listWebhooks({ query: { limit: 500, ...(after ? { after } : {}) } }));
    all.push(...page.items);
    if (!page.next || all.length >= mostShown) return all;
    after = page.next;
  }
}

const mostShown = 2000;

const columns: Column<Webhook>[] = [
  { name: 'State', of: (w) => <Badge is={w.state} /> },
  {
    name: 'Endpoint',
    class: 'wide',
    of: (w) => (
      <span>
        <a href={href('webhooks', w.id)}>{w.url}</a>
        {w.description && <span class="faint below">{w.description}</span>}
      </span>
    ),
  },
  { name: 'Tenant', of: (w) => w.tenant },
  { name: 'Behind', of: (w) => <Behind webhook={w} /> },
  {
    name: 'Last error',
    class: 'wide',
    of: (w) => (w.state === 'ACTIVE' || !w.lastError ? '—' : w.lastError),
  },
  { name: 'Changed', of: (w) => <Time at={w.updatedAt} /> },
];

// Behind is how much of the log a webhook has not finished.
export function Behind({ webhook: { lagMessages, lagSeconds } }: { webhook: Webhook }) {
  if (lagMessages === undefined) return <span class="faint">not begun yet</span>;
  if (lagMessages === 0) return <>nothing</>;
  return (
    <>
      {count(lagMessages)} {lagMessages === 1 ? 'message' : 'messages'}
      {lagSeconds !== undefined && `, ${duration(lagSeconds * 1000)}`}
    </>
  );
}
