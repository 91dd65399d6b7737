import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { listOperations } from '../../client/sdk.gen';
import type { ListOperationsData, Operation, Wallet } from '../../client/types.gen';
import { count } from '../amount';
import { ask, type Failure } from '../api';
import { failureOf, repeat, useSpaced } from '../asked';
import { Amount } from '../parts/amount';
import { Badge } from '../parts/badge';
import { Id } from '../parts/copy';
import { FailureBox } from '../parts/failure';
import { Table, type Column } from '../parts/table';
import { localTime, Time } from '../parts/time';
import { href } from '../route';
import { may } from '../session';
import { isFinal, isReversible, operationTypes, reason, sign, typeWord } from '../words';
import { Export } from './export';

export type Filters = Pick<NonNullable<ListOperationsData['query']>, 'type' | 'status' | 'from' | 'to' | 'subjectId'>;

const pageSize = 50;
const spacing = 1000; // between two looks at the newest page, however busy the wallet is
const filteredSpacing = 3000; // a filter may look at 10,000 operations
const quietPause = 10_000; // what is accepted and not yet applied is not told live
const openPause = 2000; // while something is pending or on its way

// Statement shows a wallet's operations, the newest first, and more of them as the reader scrolls. While its beginning
// is in view it is kept new; when the reader has gone further down nothing moves, and a button leads back.
export function Statement({ wallet, touched, onReverse }: { wallet: Wallet; touched: number; onReverse: (operation: Operation) => void }) {
  const { walletId, currency, version } = wallet;
  const [filters, setFilters] = useState<Filters>({});
  const list = useOperations(walletId, version, touched, filters);
  const columns = useMemo(() => columnsOf(currency, onReverse), [currency, onReverse]);
  const filtered = Object.values(filters).some(Boolean);
  return (
    <section aria-labelledby="statement">
      <div ref={list.top} />
      <header>
        <h2 id="statement">Statement</h2>
        <Export wallet={wallet} filters={filters} />
      </header>
      <FilterForm filters={filters} onChange={setFilters} />
      {list.behind && (
        <p class="behind">
          <button type="button" class="primary" onClick={list.back}>
            ↑ Newer operations
          </button>
        </p>
      )}
      {list.failure && <FailureBox failure={list.failure} again={list.retry} />}
      {list.items && (
        <Table
          caption="Operations of this wallet, the newest first"
          columns={columns}
          rows={list.items}
          keyOf={(o) => o.sequence}
          empty={list.next !== null ? 'Nothing found yet.' : filtered ? 'No operation is like that.' : 'Nothing has happened in this wallet.'}
        />
      )}
      <div ref={list.bottom} class="bottom" aria-busy={list.loading}>
        {list.next !== null && !list.failure && (
          <button type="button" disabled={list.loading} onClick={list.more}>
            {list.loading ? 'Loading…' : 'Show more'}
          </button>
        )}
        {list.next === null && list.items && list.items.length > 0 && <span class="faint">These are all.</span>}
      </div>
    </section>
  );
}

interface Listed {
  items: Operation[] | undefined;
  next: number | null;
  failure?: Failure | undefined;
  loading: boolean;
}

function useOperations(walletId: string, version: number, touched: number, filters: Filters) {
  const [list, setList] = useState<Listed>({ items: undefined, next: null, loading: true });
  const current = useRef(list);
  current.current = list;
  const top = useRef<HTMLDivElement>(null);
  const bottom = useRef<HTMLDivElement>(null);
  const question = useRef(0); // answers to earlier ones are dropped
  const busy = useRef(false);
  const newest = useRef(0); // version of the wallet when the newest page was asked for

  const read = useCallback(
    async (after: number | undefined) => {
      const mine = ++question.current;
      busy.current = true;
      if (after === undefined) newest.current = latestVersion.current;
      else setList((before) => ({ ...before, loading: true }));
      try {
        const page = await ask(listOperations({ path: { walletId }, query: { ...filters, limit: pageSize, after } }));
        if (mine !== question.current) return;
        setList(({ items = [] }) => ({
          items: after === undefined ? keepSame(items, page.items) : [...items, ...page.items],
          next: page.next,
          loading: false,
        }));
      } catch (error) {
        const failure = failureOf(error);
        if (mine === question.current) setList((before) => ({ ...before, failure, loading: false }));
      } finally {
        if (mine === question.current) busy.current = false;
      }
    },
    [walletId, filters],
  );
  const latestVersion = useRef(version);
  latestVersion.current = version;

  useEffect(() => {
    setList({ items: undefined, next: null, loading: true });
    void read(undefined);
    return () => void ++question.current;
  }, [read]);

  // The newest page is read again while it is the only one that is shown, or the reader is back at its beginning.
  const atTop = () => (top.current?.getBoundingClientRect().bottom ?? 0) > -200 || (current.current.items?.length ?? 0) === 0;
  const renew = useCallback(async () => {
    if (!busy.current && atTop()) await read(undefined);
  }, [read]);
  const filtered = Object.values(filters).some(Boolean);
  useSpaced(renew, `${version} ${touched}`, filtered ? filteredSpacing : spacing);
  const open = list.items?.slice(0, pageSize).some((o) => !isFinal(o)) ?? false;
  useEffect(() => repeat(renew, open ? openPause : quietPause), [renew, open]);

  const more = useCallback(async () => {
    const { next } = current.current;
    if (next !== null && !busy.current) await read(next);
  }, [read]);
  // More is read before the end comes into view, and again if what came does not fill the window.
  useEffect(() => {
    const end = bottom.current;
    if (!end || list.next === null || list.failure || list.loading) return;
    const seen = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && void more(), { rootMargin: '600px' });
    seen.observe(end);
    return () => seen.disconnect();
  }, [list, more]);

  const back = () => {
    top.current?.scrollIntoView();
    void read(undefined);
  };
  return {
    ...list,
    top,
    bottom,
    more: () => void more(),
    back,
    retry: () => (current.current.items ? more() : read(undefined)),
    behind: list.items !== undefined && !atTop() && version > newest.current,
  };
}

// keepSame keeps the objects of operations that have not changed, so that their rows are not drawn again.
function keepSame(before: Operation[], now: Operation[]): Operation[] {
  const known = new Map(before.map((o) => [o.sequence, o]));
  return now.map((o) => {
    const same = known.get(o.sequence);
    return same && same.status === o.status && same.settlement === o.settlement ? same : o;
  });
}

function columnsOf(currency: string, onReverse: (operation: Operation) => void): Column<Operation>[] {
  const mayReverse = may('operations:write');
  return [
    { name: 'No.', of: (o) => <a href={href('operations', o.operationId)}>{count(o.sequence)}</a> },
    {
      name: 'Operation',
      class: 'wide',
      of: (o) => (
        <span>
          {typeWord(o.operationType)}
          {o.counterpart && (
            <>
              {' '}
              {o.operationType === 'TRANSFER' || o.operationType === 'CAPTURE' ? 'to' : 'from'}{' '}
              <Id id={o.counterpart.walletId} what="the other wallet's id" to={href('wallets', o.counterpart.walletId)} short />
            </>
          )}
          {o.reference && <span class="reference">{o.reference}</span>}
        </span>
      ),
    },
    {
      name: 'Status',
      of: (o) => (
        <span title={reason(o.failureReason)}>
          <Badge is={o.status} /> {o.settlement && o.settlement !== 'COMPLETED' && <Badge is={o.settlement} />}
          {o.failureReason && <small class="reason">{o.failureReason}</small>}
        </span>
      ),
    },
    { name: 'Amount', class: 'number', of: (o) => <Amount minor={o.amount} currency={currency} sign={sign(o)} /> },
    { name: 'Balance', class: 'number', of: (o) => <Amount minor={o.balanceAfter} currency={currency} /> },
    { name: 'Accepted', of: (o) => <Time at={o.createdAt} /> },
    ...(mayReverse
      ? [
          {
            name: 'Action',
            of: (o: Operation) =>
              isReversible(o) ? (
                <button type="button" class="small" aria-label={`Reverse operation ${o.sequence}`} onClick={() => onReverse(o)}>
                  Reverse
                </button>
              ) : (
                <span class="faint">—</span>
              ),
          },
        ]
      : []),
  ];
}

function FilterForm({ filters, onChange }: { filters: Filters; onChange: (filters: Filters) => void }) {
  const set = (name: keyof Filters, value: string) => onChange({ ...filters, [name]: value || undefined });
  const time = (name: 'from' | 'to', text: string) => {
    const at = new Date(text); // the reader's own time
    set(name, Number.isNaN(at.getTime()) ? '' : at.toISOString());
  };
  const filtered = Object.values(filters).some(Boolean);
  return (
    <details class="filters">
      <summary>Filters{filtered && ' (on)'}</summary>
      <form onSubmit={(e) => e.preventDefault()}>
        <label>
          Type
          <select value={filters.type ?? ''} onChange={(e) => set('type', e.currentTarget.value)}>
            <option value="">All</option>
            {operationTypes.map((type) => (
              <option value={type} key={type}>
                {typeWord(type)}
              </option>
            ))}
          </select>
        </label>
        <label>
          Status
          <select value={filters.status ?? ''} onChange={(e) => set('status', e.currentTarget.value)}>
            <option value="">All</option>
            {['PENDING', 'PROCESSED', 'FAILED'].map((status) => (
              <option key={status}>{status}</option>
            ))}
          </select>
        </label>
        <label>
          Accepted from
          <input type="datetime-local" step="1" value={filters.from && localTime(new Date(filters.from))} onChange={(e) => time('from', e.currentTarget.value)} />
        </label>
        <label>
          Accepted before
          <input type="datetime-local" step="1" value={filters.to && localTime(new Date(filters.to))} onChange={(e) => time('to', e.currentTarget.value)} />
        </label>
        <label>
          Of the hold or operation
          <input value={filters.subjectId ?? ''} placeholder="its id" spellcheck={false} autoComplete="off" onChange={(e) => set('subjectId', e.currentTarget.value.trim())} />
        </label>
        <button type="button" disabled={!filtered} onClick={() => onChange({})}>
          Clear
        </button>
      </form>
    </details>
  );
}
