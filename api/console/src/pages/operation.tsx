import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { findOperation, getHold, getOperation, getWallet, listOperations } from '../../client/sdk.gen';
import type { Hold, Operation, Wallet } from '../../client/types.gen';
import { ask, unlessMissing } from '../api';
import { type Asked, useAsked } from '../asked';
import { Amount } from '../parts/amount';
import { Badge } from '../parts/badge';
import { Id } from '../parts/copy';
import { Fact } from '../parts/fact';
import { FailureBox } from '../parts/failure';
import { Metadata } from '../parts/metadata';
import { type Column, Table } from '../parts/table';
import { Countdown, duration, Time } from '../parts/time';
import { href } from '../route';
import { may } from '../session';
import { useTitle } from '../title';
import { CaptureDialog, ReleaseDialog, ReverseDialog } from '../wallet/actions';
import { isFinal, isReversible, reason, typeWord } from '../words';

// All that is known of an operation. What it needs the wallet for is the currency.
interface Known {
  operation: Operation;
  wallet: Wallet;
  other?: Operation | undefined; // the other leg of a transfer, once it is accepted
  hold?: Hold | undefined;
  followers: Operation[]; // what names it: captures of a hold, reversals
  more: boolean; // there may be more followers
}

const soon = 1000; // while something about it changes by itself
const seldom = 5000; // while somebody may change it

export function OperationPage({ id }: { id: string }) {
  const [every, setEvery] = useState<number>();
  const asked = useAsked(() => read(id), [id], every);
  const { data } = asked;
  useTitle(data ? typeWord(data.operation.operationType) : 'Operation');
  useEffect(() => setEvery(data && pauseOf(data)), [data]);
  useEffect(() => setEvery(undefined), [id]);
  return (
    <>
      {!data && <h1>Operation</h1>}
      {asked.failure && <FailureBox failure={asked.failure} again={asked.reload} />}
      {!data && asked.loading && <p class="faint">Loading…</p>}
      {data && <Shown {...data} asked={asked} />}
    </>
  );
}

// pauseOf is after how many milliseconds to look again; undefined: nothing changes any more.
function pauseOf({ operation, hold }: Known): number | undefined {
  if (!isFinal(operation) || operation.timeline?.published === false) return soon;
  return hold?.status === 'OPEN' ? seldom : undefined;
}

async function read(id: string): Promise<Known> {
  const operation = await ask(findOperation({ path: { operationId: id }, query: { timeline: true } }));
  const { walletId, counterpart } = operation;
  const [wallet, other, hold, followers] = await Promise.all([
    ask(getWallet({ path: { walletId } })),
    counterpart && unlessMissing(ask(getOperation({ path: counterpart }))), // it is accepted when the first leg is applied
    operation.operationType === 'HOLD' ? ask(getHold({ path: { walletId, holdId: id } })) : undefined,
    readFollowers(operation),
  ]);
  return { operation, wallet, other, hold, ...followers };
}

const followed = ['HOLD', 'DEPOSIT', 'WITHDRAW', 'CAPTURE'];
const pagesAtMost = 10; // a page looks at up to 10,000 operations of the wallet

async function readFollowers({ walletId, operationId, operationType, sequence }: Operation): Promise<{ followers: Operation[]; more: boolean }> {
  const followers: Operation[] = [];
  if (!followed.includes(operationType)) return { followers, more: false };
  let after: number | null = sequence; // what names it came after it
  for (let n = 0; n < pagesAtMost && after !== null; n++) {
    const page: { items: Operation[]; next: number | null } = await ask(
      listOperations({ path: { walletId }, query: { subjectId: operationId, order: 'asc', after, limit: 500 } }),
    );
    followers.push(...page.items);
    after = page.next;
  }
  return { followers, more: after !== null };
}

function Shown({ operation, wallet, other, hold, followers, more, asked }: Known & { asked: Asked<Known> }) {
  const { currency } = wallet;
  return (
    <>
      <div class="row spread">
        <h1>{typeWord(operation.operationType)}</h1>
        <p class="row">
          <Badge is={operation.status} />
          {operation.settlement && <Badge is={operation.settlement} />}
          {hold && hold.status !== operation.status && <Badge is={hold.status} />}
        </p>
      </div>
      {operation.amount !== undefined && (
        <p class="figure">
          <Amount minor={operation.amount} currency={currency} />
        </p>
      )}
      <Actions operation={operation} hold={hold} wallet={wallet} changed={() => void asked.reload()} />
      {operation.status === 'FAILED' && <WhyItFailed operation={operation} />}
      <div class="columns">
        <section aria-labelledby="timeline">
          <header>
            <h2 id="timeline">Timeline</h2>
          </header>
          <Timeline operation={operation} other={other} />
        </section>
        <section aria-labelledby="facts">
          <header>
            <h2 id="facts">Operation</h2>
          </header>
          <Facts operation={operation} wallet={wallet} />
        </section>
        {hold && (
          <section aria-labelledby="hold">
            <header>
              <h2 id="hold">Hold</h2>
            </header>
            <HoldFacts hold={hold} currency={currency} />
          </section>
        )}
        {operation.counterpart && (
          <section aria-labelledby="other">
            <header>
              <h2 id="other">{other ? `Other leg: ${typeWord(other.operationType)}` : 'Other leg'}</h2>
            </header>
            <OtherLeg operation={operation} other={other} currency={currency} />
          </section>
        )}
      </div>
      {followed.includes(operation.operationType) && operation.status !== 'FAILED' && (
        <section aria-labelledby="followers">
          <header>
            <h2 id="followers">{hold ? 'What became of the hold' : 'Reversals'}</h2>
          </header>
          <Table caption="Operations that name this one" columns={followerColumns(currency)} rows={followers} keyOf={(o) => o.operationId} empty="None so far." />
          {more && <p class="faint">There may be more. The wallet's statement, filtered by this id, has all of them.</p>}
        </section>
      )}
    </>
  );
}

// Actions offers what can be done to this operation. What it opened stays open when the operation has changed by it.
function Actions({ operation, hold, wallet, changed }: { operation: Operation; hold: Hold | undefined; wallet: Wallet; changed: () => void }) {
  const [doing, setDoing] = useState<{ what: 'CAPTURE' | 'RELEASE'; hold: Hold } | { what: 'REVERSE' }>();
  if (!may('operations:write')) return null;
  const props = { wallet, changed, onClose: () => setDoing(undefined) };
  return (
    <div class="row actions" role="group" aria-label="Actions">
      {hold?.status === 'OPEN' && (
        <>
          <button type="button" onClick={() => setDoing({ what: 'CAPTURE', hold })}>
            Capture
          </button>
          <button type="button" onClick={() => setDoing({ what: 'RELEASE', hold })}>
            Release
          </button>
        </>
      )}
      {isReversible(operation) && (
        <button type="button" onClick={() => setDoing({ what: 'REVERSE' })}>
          Reverse
        </button>
      )}
      {doing?.what === 'CAPTURE' && <CaptureDialog {...props} hold={doing.hold} />}
      {doing?.what === 'RELEASE' && <ReleaseDialog {...props} hold={doing.hold} />}
      {doing?.what === 'REVERSE' && <ReverseDialog {...props} operation={operation} />}
    </div>
  );
}

function WhyItFailed({ operation }: { operation: Operation }) {
  return (
    <div class="failure" role="note">
      <p>
        <strong>Why it failed</strong> <code>{operation.failureReason}</code>
      </p>
      <p>
        {reason(operation.failureReason)} The wallet is as it was. This outcome is final: once the cause is gone, send a new operation.
      </p>
    </div>
  );
}

// Timeline has a step for each thing that happens to an operation, with the times that are known.
function Timeline({ operation, other }: { operation: Operation; other: Operation | undefined }) {
  const { timeline, createdAt, appliedAt, status, settlement, operationType } = operation;
  const since = (at: string) => <span class="faint">{duration(Date.parse(at) - Date.parse(createdAt))} after acceptance</span>;
  const before = timeline?.pendingBefore ?? 0;
  return (
    <ol class="steps card">
      <Step is="done" name="Accepted">
        <Time at={createdAt} /> as operation {operation.sequence} of the wallet
      </Step>
      <Step is={timeline?.published === false ? (timeline.parked ? 'failed' : 'now') : 'done'} name="Published">
        {published(timeline)}
      </Step>
      {status === 'PENDING' ? (
        <Step is="now" name="Applied">
          {before > 0 ? `${before} operations of the wallet come before it` : 'It is next'}
        </Step>
      ) : (
        <Step is={status === 'FAILED' ? 'failed' : 'done'} name={status === 'FAILED' ? 'Refused at its turn' : 'Applied'}>
          {appliedAt && (
            <>
              <Time at={appliedAt} /> {since(appliedAt)}
            </>
          )}
        </Step>
      )}
      {settlement && operationType !== 'RECEIVE' && (
        <Step is={settlement === 'PENDING' ? 'now' : settlement === 'RETURNED' ? 'failed' : 'done'} name={settled[settlement] ?? settlement}>
          {other?.appliedAt && (
            <>
              <Time at={other.appliedAt} /> {since(other.appliedAt)}
            </>
          )}
        </Step>
      )}
    </ol>
  );
}

const settled: Record<string, string> = { PENDING: 'On its way to the other wallet', COMPLETED: 'Received by the other wallet', RETURNED: 'Not received: the money is back' };

function published(timeline: Operation['timeline']): string {
  if (timeline?.parked) return 'An operator has taken its message out. It is applied all the same.';
  if (timeline?.published) return 'Its message is in the log';
  if (timeline?.published === false) return 'Its message waits for the relay';
  return 'Not known any more: this is kept for a day';
}

function Step({ is, name, children }: { is: 'done' | 'now' | 'failed'; name: string; children: ComponentChildren }) {
  return (
    <li class={is}>
      <strong>{name}</strong> <span>{children}</span>
    </li>
  );
}

function Facts({ operation, wallet }: { operation: Operation; wallet: Wallet }) {
  const { currency } = wallet;
  const o = operation;
  return (
    <div class="card">
      <dl class="facts">
        <Fact name="Operation">
          <Id id={o.operationId} what="the operation's id" />
        </Fact>
        <Fact name="Wallet">
          <Id id={o.walletId} what="the wallet's id" to={href('wallets', o.walletId)} />
        </Fact>
        {wallet.reference && <Fact name="Wallet's reference">{wallet.reference}</Fact>}
        <Fact name="Tenant">{wallet.tenant}</Fact>
        <Fact name="Type">
          <code>{o.operationType}</code>
        </Fact>
        {o.subjectId && (
          <Fact name={subjectWord(o.operationType)}>
            <Id id={o.subjectId} what="the id of what it refers to" to={href('operations', o.subjectId)} />
          </Fact>
        )}
        {o.balanceAfter !== undefined && (
          <Fact name="Balance after">
            <Amount minor={o.balanceAfter} currency={currency} />
          </Fact>
        )}
        {o.heldAfter !== undefined && (
          <Fact name="Held after">
            <Amount minor={o.heldAfter} currency={currency} />
          </Fact>
        )}
        {o.availableAfter !== undefined && (
          <Fact name="Available after">
            <Amount minor={o.availableAfter} currency={currency} />
          </Fact>
        )}
        {o.final !== undefined && <Fact name="Rest of the hold">{o.final ? 'released' : 'stays held'}</Fact>}
        {o.reference && <Fact name="Reference">{o.reference}</Fact>}
      </dl>
      <Metadata of={o.metadata} />
    </div>
  );
}

function subjectWord(type: string): string {
  if (type === 'REVERSE') return 'Reverses';
  return ['CAPTURE', 'RELEASE', 'EXPIRE'].includes(type) ? 'Hold' : 'Follows from';
}

function HoldFacts({ hold, currency }: { hold: Hold; currency: string }) {
  return (
    <dl class="facts card">
      <Fact name="Held at first">
        <Amount minor={hold.amount} currency={currency} />
      </Fact>
      <Fact name="Captured">
        <Amount minor={hold.captured} currency={currency} />
      </Fact>
      <Fact name="Remaining">
        <Amount minor={hold.remaining} currency={currency} />
      </Fact>
      {hold.expiresAt && (
        <Fact name="Expires">
          <Time at={hold.expiresAt} /> {hold.status === 'OPEN' && <Countdown until={hold.expiresAt} />}
        </Fact>
      )}
    </dl>
  );
}

function OtherLeg({ operation, other, currency }: { operation: Operation; other: Operation | undefined; currency: string }) {
  const { counterpart } = operation;
  if (!counterpart) return null;
  return (
    <dl class="facts card">
      <Fact name="In wallet">
        <Id id={counterpart.walletId} what="the other wallet's id" to={href('wallets', counterpart.walletId)} />
      </Fact>
      <Fact name="As operation">
        {other ? <Id id={other.operationId} what="the other operation's id" to={href('operations', other.operationId)} /> : 'not accepted yet: that is done when this one is applied'}
      </Fact>
      {other && (
        <>
          <Fact name="Status">
            <Badge is={other.status} /> {other.failureReason && <code>{other.failureReason}</code>} {reason(other.failureReason)}
          </Fact>
          <Fact name="Amount">
            <Amount minor={other.amount} currency={currency} />
          </Fact>
          <Fact name="Accepted">
            <Time at={other.createdAt} />
          </Fact>
          <Fact name="Applied">
            <Time at={other.appliedAt} />
          </Fact>
        </>
      )}
    </dl>
  );
}

function followerColumns(currency: string): Column<Operation>[] {
  return [
    { name: 'Type', of: (o) => <a href={href('operations', o.operationId)}>{typeWord(o.operationType)}</a> },
    { name: 'Amount', class: 'number', of: (o) => <Amount minor={o.amount} currency={currency} /> },
    {
      name: 'Status',
      of: (o) => (
        <>
          <Badge is={o.status} /> {o.failureReason && <code>{o.failureReason}</code>}
        </>
      ),
    },
    { name: 'Accepted', of: (o) => <Time at={o.createdAt} /> },
    { name: 'Reference', class: 'wide', of: (o) => o.reference },
  ];
}
