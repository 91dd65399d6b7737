import { useEffect, useState } from 'preact/hooks';
import { getStatus } from '../../client/sdk.gen';
import type { InTransit, RelayStatus, StandingWallet, Status } from '../../client/types.gen';
import { count } from '../amount';
import { ask } from '../api';
import { useAsked } from '../asked';
import { troubles } from '../health';
import { Amount } from '../parts/amount';
import { Id } from '../parts/copy';
import { Fact } from '../parts/fact';
import { FailureBox } from '../parts/failure';
import { LiveMark } from '../parts/live';
import { Plot } from '../parts/plot';
import { type Column, Table } from '../parts/table';
import { duration } from '../parts/time';
import { href } from '../route';
import { maySeeStatus, session } from '../session';
import { useTitle } from '../title';
import { typeWord } from '../words';

const every = 1000; // the api asks Postgres once a second
const kept = 600; // samples: ten minutes

// A sample is what the plots show of a status. Without a status it has none: the lines have a gap there.
interface Sample {
  at: number; // seconds
  accepted: number | null;
  applied: number | null;
  pending: number | null; // milliseconds, of the oldest
  waiting: number | null;
}

// The last ten minutes, as this tab has seen them. They go with the session.
let samples: Sample[] = [];
session.subscribe(() => (samples = []));

export function System() {
  useTitle('System');
  if (!maySeeStatus()) {
    return (
      <>
        <h1>System</h1>
        <p>
          This key may not see how the system is. That takes a key of all tenants with the scope <code>status:read</code>.
        </p>
      </>
    );
  }
  return <Shown />;
}

function Shown() {
  const { data, failure, loading, reload } = useAsked(() => ask(getStatus()), [], every);
  const [seen, setSeen] = useState<Sample[]>(samples);
  useEffect(() => {
    if (data) setSeen((samples = add(samples, sampleOf(data))));
  }, [data]);
  return (
    <>
      <div class="section-head">
        <h1>System</h1>
        <LiveMark live={failure ? 'reconnecting' : data ? 'live' : 'connecting'} />
      </div>
      {failure && <FailureBox failure={failure} again={reload} />}
      {!data && loading && <p class="faint">Loading…</p>}
      {data && (
        <>
          <Judgement status={data} />
          <Figures status={data} />
          <Plots samples={seen} />
          <Parts status={data} />
        </>
      )}
    </>
  );
}

// add appends a sample, after a gap one without values before it.
function add(before: Sample[], sample: Sample): Sample[] {
  const last = before.at(-1);
  if (last && sample.at <= last.at) return before;
  const gap = last && sample.at - last.at > 5 ? [{ at: last.at + 1, accepted: null, applied: null, pending: null, waiting: null }] : [];
  return [...before, ...gap, sample].slice(-kept).filter((s) => sample.at - s.at <= kept);
}

function sampleOf(s: Status): Sample {
  const { pendingOperations: pending, oldestPendingSeconds: oldest = 0 } = s;
  return {
    at: Date.parse(s.at) / 1000,
    accepted: s.acceptedPerSecond ?? null,
    applied: s.appliedPerSecond ?? null,
    pending: pending === undefined ? null : pending > 0 ? Math.round(oldest * 1000) : 0,
    waiting: s.relays ? Math.round(oldestWaiting(s.relays) * 1000) : null,
  };
}

// oldestWaiting is in seconds. A relay without a backlog has none.
function oldestWaiting(relays: RelayStatus[]): number {
  return Math.max(0, ...relays.filter((r) => r.waitingRows > 0).map((r) => r.oldestWaitingSeconds));
}

function Judgement({ status }: { status: Status }) {
  const found = troubles(status);
  if (found.length === 0) return <p class="well">Nothing is late, halted or unknown.</p>;
  return (
    <div class="notice">
      <ul>
        {found.map((t) => (
          <li key={t.says + (t.wallet ?? '')}>
            {t.says} {t.wallet && <Id id={t.wallet} what="the wallet's id" to={href('wallets', t.wallet)} short />}
          </li>
        ))}
      </ul>
      <p>
        <code>ctl status</code> says what to do.
      </p>
    </div>
  );
}

function Figures({ status: s }: { status: Status }) {
  const waiting = s.relays?.reduce((sum, r) => sum + r.waitingRows, 0);
  return (
    <dl class="facts card">
      <Fact name="Accepted a second" large>
        {known(s.acceptedPerSecond)}
      </Fact>
      <Fact name="Applied a second" large>
        {known(s.appliedPerSecond)}
      </Fact>
      <Fact name="Not applied yet" large>
        {known(s.pendingOperations)} {age(s.pendingOperations, s.oldestPendingSeconds)}
      </Fact>
      <Fact name="Not published yet" large>
        {known(waiting)} {age(waiting, s.relays && oldestWaiting(s.relays))}
      </Fact>
      <Fact name="Wallets">{about(s.wallets, s.walletsEstimated)}</Fact>
      <Fact name="Operations accepted">{about(s.acceptedOperations, s.acceptedOperationsEstimated)}</Fact>
      <Fact name="Outbox keeps">{s.outbox ? duration(s.outbox.oldestRowSeconds * 1000) : '—'}</Fact>
      <Fact name="Processes">
        {s.processes
          ? Object.keys(s.processes)
              .sort()
              .map((name) => `${s.processes?.[name]} ${name}`)
              .join(', ')
          : '—'}
      </Fact>
      <Fact name="Holds open after their time">{known(s.lateHolds?.holds)}</Fact>
      <Fact name="Disabled tenants">{s.disabledTenants ? s.disabledTenants.join(', ') || 'none' : '—'}</Fact>
    </dl>
  );
}

function known(n: number | undefined) {
  return n === undefined ? '—' : count(n);
}

function about(n: number | undefined, estimated: boolean | undefined) {
  return n === undefined ? '—' : `${estimated ? 'about ' : ''}${count(n)}`;
}

function age(n: number | undefined, seconds: number | undefined) {
  if (!n || !seconds) return null;
  return <small>oldest {duration(seconds * 1000)}</small>;
}

function Plots({ samples }: { samples: Sample[] }) {
  const x = samples.map((s) => s.at);
  const last = samples.at(-1);
  const rate = (n: number | null | undefined) => (n == null ? 'not known' : count(n));
  const late = (ms: number | null | undefined) => (ms == null ? 'not known' : duration(ms));
  const clock = (at: number | undefined) => (at === undefined ? '' : new Date(at * 1000).toLocaleTimeString());
  return (
    <section>
      <header>
        <h2>The last ten minutes</h2>
        <span class="faint">as this tab has seen them</span>
      </header>
      <div class="columns">
        <div>
          <h3>Operations a second</h3>
          <Plot
            says={`Operations a second over time; now ${rate(last?.accepted)} accepted and ${rate(last?.applied)} applied`}
            x={x}
            time
            y={count}
            fromZero
            width={60}
            series={[
              { name: 'accepted', color: 'accent', values: samples.map((s) => s.accepted) },
              { name: 'applied', color: 'good', values: samples.map((s) => s.applied) },
            ]}
            at={(i) => `${clock(samples[i]?.at)}: ${rate(samples[i]?.accepted)} accepted, ${rate(samples[i]?.applied)} applied`}
          />
        </div>
        <div>
          <h3>Age of the oldest that waits</h3>
          <Plot
            says={`Age of the oldest operation that is not applied, now ${late(last?.pending)}, and of the oldest message that is not published, now ${late(last?.waiting)}`}
            x={x}
            time
            y={(ms) => (ms === 0 ? '0' : duration(ms))}
            fromZero
            width={60}
            series={[
              { name: 'not applied', color: 'accent', values: samples.map((s) => s.pending) },
              { name: 'not published', color: 'wait', values: samples.map((s) => s.waiting) },
            ]}
            at={(i) => `${clock(samples[i]?.at)}: not applied ${late(samples[i]?.pending)}, not published ${late(samples[i]?.waiting)}`}
          />
        </div>
      </div>
    </section>
  );
}

function Parts({ status: s }: { status: Status }) {
  return (
    <>
      <section>
        <header>
          <h2>Relays</h2>
        </header>
        {s.relays ? <Table caption="Relays" columns={relayColumns} rows={s.relays} keyOf={(r) => r.relay} empty="None has begun." /> : <NotKnown />}
      </section>
      <section>
        <header>
          <h2>In transit between two wallets</h2>
        </header>
        {s.inTransit ? <Table caption="Money in transit" columns={transitColumns} rows={s.inTransit} keyOf={(t) => t.currency} empty="Nothing." /> : <NotKnown />}
      </section>
      <section>
        <header>
          <h2>Stalled wallets</h2>
        </header>
        {s.standingWallets ? <Table caption="Stalled wallets" columns={standingColumns} rows={s.standingWallets} keyOf={(w) => w.walletId} empty="None." /> : <NotKnown />}
      </section>
      <section>
        <header>
          <h2>Webhooks</h2>
        </header>
        {s.webhooks ? (
          <dl class="facts card">
            <Fact name="All">{count(s.webhooks.webhooks)}</Fact>
            <Fact name="Failing">{count(s.webhooks.failing)}</Fact>
            <Fact name="Disabled">{count(s.webhooks.disabled)}</Fact>
            <Fact name="Not finished">
              {s.webhooks.lagMessages > 0 ? `${count(s.webhooks.lagMessages)} messages, the oldest ${duration(s.webhooks.lagSeconds * 1000)}` : 'nothing'}
            </Fact>
            <Fact name="Saved by hooks">{s.webhooks.savedSecondsAgo > 0 ? `${duration(s.webhooks.savedSecondsAgo * 1000)} ago` : 'never'}</Fact>
            {s.webhooks.disabledIds.length > 0 && (
              <Fact name="Disabled last">
                {s.webhooks.disabledIds.map((id) => (
                  <div key={id}>
                    <Id id={id} what="the webhook's id" to={href('webhooks', id)} short />
                  </div>
                ))}
              </Fact>
            )}
          </dl>
        ) : (
          <NotKnown />
        )}
      </section>
    </>
  );
}

function NotKnown() {
  return <p class="faint">Not known.</p>;
}

const relayColumns: Column<RelayStatus>[] = [
  { name: 'Relay', of: (r) => <code>{r.relay}</code> },
  { name: 'Leader', of: (r) => <span class={`badge ${r.paused ? 'wait' : r.leading ? 'good' : 'bad'}`}>{r.paused ? 'paused' : r.leading ? 'leads' : 'none'}</span> },
  { name: 'Waiting', class: 'number', of: (r) => count(r.waitingRows) },
  { name: 'Oldest', class: 'number', of: (r) => (r.waitingRows > 0 ? duration(r.oldestWaitingSeconds * 1000) : '—') },
  { name: 'Position saved', class: 'number', of: (r) => `${duration(r.positionSavedSecondsAgo * 1000)} ago` },
];

const transitColumns: Column<InTransit>[] = [
  { name: 'Currency', of: (t) => t.currency },
  { name: 'Amount', class: 'number', of: (t) => <Amount minor={t.amountMinor} currency={t.currency} /> },
  { name: 'Operations', class: 'number', of: (t) => count(t.operations) },
  { name: 'Oldest', class: 'number', of: (t) => duration(t.oldestSeconds * 1000) },
];

const standingColumns: Column<StandingWallet>[] = [
  { name: 'Wallet', of: (w) => <Id id={w.walletId} what="the wallet's id" to={href('wallets', w.walletId)} short /> },
  { name: 'Applied', class: 'number', of: (w) => count(w.appliedSequence) },
  { name: 'Accepted', class: 'number', of: (w) => count(w.lastSequence) },
  { name: 'Since', class: 'number', of: (w) => duration(w.oldestPendingSeconds * 1000) },
  { name: 'Next', of: (w) => (w.halted ? <span class="badge bad">missing</span> : typeWord(w.nextType)) },
];
