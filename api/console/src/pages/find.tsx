import { useEffect, useRef, useState } from 'preact/hooks';
import { findOperation, getWallet, listWallets } from '../../client/sdk.gen';
import type { Wallet } from '../../client/types.gen';
import { ask, unlessMissing, type Failure } from '../api';
import { failureOf, useAsked } from '../asked';
import { Amount } from '../parts/amount';
import { Badge } from '../parts/badge';
import { Id } from '../parts/copy';
import { FailureBox } from '../parts/failure';
import { isUUID } from '../parts/fields';
import { Table, type Column } from '../parts/table';
import { Time } from '../parts/time';
import { go, href } from '../route';
import { may, recentWallets } from '../session';
import { useTitle } from '../title';
import { OpenWalletDialog } from '../wallet/actions';

const columns: Column<Wallet>[] = [
  { name: 'Reference', class: 'wide', of: (w) => <a href={href('wallets', w.walletId)}>{w.reference ?? 'without one'}</a> },
  { name: 'Wallet', of: (w) => <Id id={w.walletId} what="the wallet's id" to={href('wallets', w.walletId)} short /> },
  { name: 'State', of: (w) => <Badge is={w.state} /> },
  { name: 'Balance', class: 'number', of: (w) => <Amount minor={w.balance} currency={w.currency} /> },
  { name: 'Available', class: 'number', of: (w) => <Amount minor={w.available} currency={w.currency} /> },
  { name: 'Tenant', of: (w) => w.tenant },
  { name: 'Opened', of: (w) => <Time at={w.createdAt} /> },
];

// Find leads to a wallet or an operation by what a person has of it.
export function Find({ query }: { query: URLSearchParams }) {
  useTitle('Find');
  const [text, setText] = useState(query.get('q') ?? '');
  const [asked, setAsked] = useState(''); // what is looked for
  const [opening, setOpening] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  if (!may('wallets:read')) {
    return (
      <>
        <h1>Find</h1>
        <p>
          This key may not read wallets: it does not have the scope <code>wallets:read</code>.
        </p>
      </>
    );
  }
  return (
    <>
      <div class="row spread">
        <h1>Find a wallet or an operation</h1>
        {may('wallets:write') && (
          <button type="button" onClick={() => setOpening(true)}>
            Open a wallet
          </button>
        )}
      </div>
      <form
        class="row find"
        role="search"
        onSubmit={(e) => {
          e.preventDefault();
          setAsked(text.trim());
        }}
      >
        <input
          ref={input}
          type="search"
          aria-label="Id of a wallet or an operation, or a wallet's reference"
          placeholder="Id of a wallet or an operation, or a wallet's reference"
          value={text}
          spellcheck={false}
          autoComplete="off"
          onInput={(e) => setText(e.currentTarget.value)}
        />
        <button class="primary">Find</button>
      </form>
      {asked ? <Found text={asked} key={asked} /> : <Recent />}
      {!asked && <AllWallets />}
      {opening && <OpenWalletDialog onClose={() => setOpening(false)} />}
    </>
  );
}

// Found goes to what has this id, and otherwise lists the wallets with this reference, which may look like an id.
function Found({ text }: { text: string }) {
  const [found, setFound] = useState<{ wallets?: Wallet[]; more?: boolean; failure?: Failure }>();
  const look = async () => {
    setFound(undefined);
    // The id of an event is its wallet's with a sequence.
    const id = /^([^:]+):\d+$/.exec(text)?.[1] ?? text;
    try {
      if (isUUID(id)) {
        const wallet = await unlessMissing(ask(getWallet({ path: { walletId: id } })));
        if (wallet) return go('wallets', wallet.walletId);
        const operation = await unlessMissing(ask(findOperation({ path: { operationId: id } })));
        if (operation) return go('operations', operation.operationId);
      }
      const page = await ask(listWallets({ query: { reference: text, limit: 100 } }));
      if (page.items.length === 1 && page.next === null) return go('wallets', page.items[0]!.walletId);
      setFound({ wallets: page.items, more: page.next !== null });
    } catch (error) {
      setFound({ failure: failureOf(error) });
    }
  };
  useEffect(() => void look(), []);
  return (
    <section aria-live="polite">
      {!found && <p class="faint">Looking…</p>}
      {found?.failure && <FailureBox failure={found.failure} again={look} />}
      {found?.wallets && (
        <Table
          caption={`Wallets with the reference ${text}`}
          columns={columns}
          rows={found.wallets}
          keyOf={(w) => w.walletId}
          empty={<>Nothing has the id or the reference “{text}”, or it belongs to a tenant that this key does not see, or to another cell.</>}
        />
      )}
      {found?.more && <p class="faint">There are more than these.</p>}
    </section>
  );
}

// Recent are the wallets that were opened in this tab.
function Recent() {
  const ids = recentWallets();
  const recent = useAsked(async () => {
    const wallets = await Promise.all(ids.map((walletId) => unlessMissing(ask(getWallet({ path: { walletId } })))));
    return wallets.filter((w) => w !== undefined);
  }, []);
  if (ids.length === 0) return null;
  return (
    <section aria-labelledby="recent">
      <header>
        <h2 id="recent">Recent</h2>
      </header>
      {recent.failure && <FailureBox failure={recent.failure} again={recent.reload} />}
      {recent.data && <Table caption="Wallets that were opened in this tab" columns={columns} rows={recent.data} keyOf={(w) => w.walletId} empty="None." />}
    </section>
  );
}

// AllWallets leafs through the wallets that the key sees.
function AllWallets() {
  const [after, setAfter] = useState<string[]>([]); // where each page after the first begins
  const page = useAsked(() => ask(listWallets({ query: { limit: 20, after: after.at(-1) } })), [after]);
  return (
    <section aria-labelledby="all">
      <header>
        <h2 id="all">All wallets</h2>
      </header>
      {page.failure && <FailureBox failure={page.failure} again={page.reload} />}
      {page.data && (
        <>
          <Table caption="Wallets by their ids" columns={columns} rows={page.data.items} keyOf={(w) => w.walletId} empty="There are no wallets yet." />
          <p class="row pages">
            <button type="button" disabled={after.length === 0} onClick={() => setAfter(after.slice(0, -1))}>
              ← Before
            </button>
            <button type="button" disabled={page.data.next === null} onClick={() => page.data?.next && setAfter([...after, page.data.next])}>
              Next →
            </button>
          </p>
        </>
      )}
    </section>
  );
}
