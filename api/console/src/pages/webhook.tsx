import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { getWebhook, listWebhookAttempts } from '../../client/sdk.gen';
import type { MissedRange, SkippedRun, StalledRun, Webhook, WebhookAttempt } from '../../client/types.gen';
import { count } from '../amount';
import { ask } from '../api';
import { useAsked } from '../asked';
import { Badge } from '../parts/badge';
import { Id } from '../parts/copy';
import { Fact } from '../parts/fact';
import { FailureBox } from '../parts/failure';
import { type Column, Table } from '../parts/table';
import { duration, Time, useNow } from '../parts/time';
import { href } from '../route';
import { useTitle } from '../title';
import { Change, Delete, Replay, Rotate, Skip, Switch, Test } from './webhook_forms';
import { Behind } from './webhooks';

const every = 2000;

// What is open in a dialog; a run is one to skip.
type Open = 'test' | 'replay' | 'switch' | 'rotate' | 'change' | 'delete' | StalledRun | undefined;

export function WebhookPage({ id }: { id: string }) {
  useTitle('Webhook');
  const [deleted, setDeleted] = useState(false);
  if (!deleted) return <OneWebhook id={id} deleted={() => setDeleted(true)} />;
  return (
    <>
      <h1>Webhook</h1>
      <p role="status">It is deleted. Its deliveries end within seconds.</p>
      <p>
        <a href={href('webhooks')}>All webhooks</a>
      </p>
    </>
  );
}

function OneWebhook({ id, deleted }: { id: string; deleted: () => void }) {
  const webhook = useAsked(() => ask(getWebhook({ path: { id } })), [id], every);
  const attempts = useAsked(async () => (await ask(listWebhookAttempts({ path: { id } }))).items, [id], every);
  const [open, setOpen] = useState<Open>();
  const { data } = webhook;
  const form = { changed: () => void (webhook.reload(), attempts.reload()), onClose: () => setOpen(undefined) };
  return (
    <>
      <p>
        <a href={href('webhooks')}>← All webhooks</a>
      </p>
      <h1>{data?.url ?? 'Webhook'}</h1>
      {webhook.failure && <FailureBox failure={webhook.failure} again={webhook.reload} />}
      {!data && webhook.loading && <p class="faint">Loading…</p>}
      {data && (
        <>
          <State webhook={data} />
          <div class="row">
            <button type="button" class="primary" onClick={() => setOpen('test')}>
              Send a test…
            </button>
            <button type="button" onClick={() => setOpen('replay')}>
              Replay…
            </button>
            <button type="button" onClick={() => setOpen('switch')}>
              {data.enabled ? 'Disable…' : 'Enable…'}
            </button>
            <button type="button" onClick={() => setOpen('change')}>
              Change…
            </button>
            <button type="button" onClick={() => setOpen('rotate')}>
              Exchange the secret…
            </button>
            <button type="button" onClick={() => setOpen('delete')}>
              Delete…
            </button>
          </div>
          <Section name="How it is set up">
            <Facts webhook={data} />
          </Section>
          {data.stalled.length > 0 && (
            <Section name="Runs that the receiver refuses">
              <p>They are tried again. Each holds up what follows it of its wallet, and in the end its part of the log.</p>
              <Table caption="Runs that the receiver refuses" columns={stalledColumns(setOpen)} rows={data.stalled} keyOf={(r) => r.run} empty="" />
            </Section>
          )}
          <Section name="Last attempts">
            {attempts.failure && <FailureBox failure={attempts.failure} again={attempts.reload} />}
            {attempts.data && (
              <Table caption="Last attempts, the newest first" columns={attemptColumns} rows={attempts.data} keyOf={(a) => a.at + a.messageId + a.attempt} empty="There is none yet." />
            )}
          </Section>
          {data.skipped.length > 0 && (
            <Section name="Runs that were skipped">
              <Table caption="Runs that were skipped" columns={skippedColumns} rows={data.skipped} keyOf={(r) => r.run + r.at} empty="" />
            </Section>
          )}
          {data.missed.length > 0 && (
            <Section name="Missed">
              <p>These messages were not in the log any more when the webhook came to them. Read the statements of the wallets.</p>
              <Table caption="Missed ranges" columns={missedColumns} rows={data.missed} keyOf={(m) => `${m.partition}:${m.from}`} empty="" />
            </Section>
          )}
          {open === 'test' && <Test webhook={data} {...form} />}
          {open === 'replay' && <Replay webhook={data} {...form} />}
          {open === 'switch' && <Switch webhook={data} {...form} />}
          {open === 'rotate' && <Rotate webhook={data} {...form} />}
          {open === 'change' && <Change webhook={data} {...form} />}
          {open === 'delete' && <Delete webhook={data} deleted={deleted} onClose={form.onClose} />}
          {typeof open === 'object' && <Skip webhook={data} run={open} {...form} />}
        </>
      )}
    </>
  );
}

function Section({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <section>
      <header>
        <h2>{name}</h2>
      </header>
      {children}
    </section>
  );
}

// State says how it fares, and what to do if that is badly.
function State({ webhook: w }: { webhook: Webhook }) {
  return (
    <>
      <p class="row">
        <Badge is={w.state} />
        <span>
          Behind: <Behind webhook={w} />
        </span>
      </p>
      {w.state === 'DISABLED' && (
        <div class="notice">
          <p>
            <strong>Disabled</strong> {w.disabledAt && <Time at={w.disabledAt} />}
            {w.disabledReason && `: ${w.disabledReason}`}
          </p>
          <p>Its place in the log is kept. Once it is enabled it goes on there.</p>
        </div>
      )}
      {w.state === 'FAILING' && (
        <div class="notice">
          <p>
            <strong>Deliveries fail</strong> {w.failingSince && <>since <Time at={w.failingSince} /></>}
            {w.lastError && `: ${w.lastError}`}
          </p>
          {w.nextAttemptAt && (
            <p>
              Next attempt <Due at={w.nextAttemptAt} />
            </p>
          )}
        </div>
      )}
    </>
  );
}

function Facts({ webhook: w }: { webhook: Webhook }) {
  return (
    <dl class="facts card">
      <Fact name="Description">{w.description ?? '—'}</Fact>
      <Fact name="Tenant">{w.tenant}</Fact>
      <Fact name="Webhook">
        <Id id={w.id} what="the webhook's id" />
      </Fact>
      <Fact name="Types">{w.types ? w.types.join(', ') : 'all'}</Fact>
      <Fact name="Wallets">
        {w.wallets
          ? w.wallets.map((id) => (
              <div key={id}>
                <Id id={id} what="the wallet's id" to={href('wallets', id)} short />
              </div>
            ))
          : 'all of the tenant'}
      </Fact>
      {w.previousSecretUntil && Date.parse(w.previousSecretUntil) > Date.now() && (
        <Fact name="Former secret signs until">
          <Time at={w.previousSecretUntil} />
        </Fact>
      )}
      {w.logBegins && (
        <Fact name="Log begins">
          <Time at={w.logBegins} />
        </Fact>
      )}
      <Fact name="Created">
        <Time at={w.createdAt} />
      </Fact>
      <Fact name="Changed">
        <Time at={w.updatedAt} />
      </Fact>
    </dl>
  );
}

// Due is how long it is until something is tried again.
function Due({ at }: { at: string }) {
  const left = Date.parse(at) - useNow();
  return (
    <time dateTime={at} title={at}>
      {left > 0 ? `in ${duration(Math.max(left, 1000))}` : 'now'}
    </time>
  );
}

// Run is a link to its wallet, and the sequences that it tells of.
function Run({ walletId, fromSequence, version }: { walletId?: string | undefined; fromSequence?: number | undefined; version?: number | undefined }) {
  if (!walletId || version === undefined) return <>—</>;
  return (
    <span>
      <Id id={walletId} what="the wallet's id" to={href('wallets', walletId)} short />{' '}
      {fromSequence === undefined || fromSequence === version ? `operation ${version}` : `operations ${fromSequence} to ${version}`}
    </span>
  );
}

function stalledColumns(skip: (run: StalledRun) => void): Column<StalledRun>[] {
  return [
    { name: 'Run', of: (r) => <Run {...r} /> },
    { name: 'Since', of: (r) => <Time at={r.since} /> },
    { name: 'Attempts', class: 'number', of: (r) => count(r.attempts) },
    { name: 'Next', of: (r) => (r.nextAttemptAt ? <Due at={r.nextAttemptAt} /> : '—') },
    { name: 'Error', class: 'wide', of: (r) => r.error },
    {
      name: 'Action',
      of: (r) => (
        <button type="button" class="small" onClick={() => skip(r)}>
          Skip…
        </button>
      ),
    },
  ];
}

const attemptColumns: Column<WebhookAttempt>[] = [
  { name: 'At', of: (a) => <Time at={a.at} /> },
  { name: 'Message', class: 'wide', of: (a) => (a.walletId ? <Run {...a} /> : a.type.includes('.test.') ? 'Test' : <code>{a.messageId}</code>) },
  { name: 'Attempt', class: 'number', of: (a) => count(a.attempt) },
  { name: 'Answer', of: (a) => <Answer attempt={a} /> },
  { name: 'Took', class: 'number', of: (a) => `${count(a.milliseconds)} ms` },
  { name: 'Error', class: 'wide', of: (a) => a.error ?? '' },
];

function Answer({ attempt: { status, error } }: { attempt: WebhookAttempt }) {
  return <span class={`badge ${error ? 'bad' : 'good'}`}>{status ?? 'none'}</span>;
}

const skippedColumns: Column<SkippedRun>[] = [
  { name: 'Run', of: (r) => <Run {...r} /> },
  { name: 'Skipped', of: (r) => <Time at={r.at} /> },
];

const missedColumns: Column<MissedRange>[] = [
  { name: 'Partition', class: 'number', of: (m) => m.partition },
  { name: 'First offset missed', class: 'number', of: (m) => count(m.from) },
  { name: 'Went on at', class: 'number', of: (m) => count(m.to) },
  { name: 'At', of: (m) => <Time at={m.at} /> },
];
