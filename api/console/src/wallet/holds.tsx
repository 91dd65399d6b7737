import { useMemo } from 'preact/hooks';
import { listHolds } from '../../client/sdk.gen';
import type { OpenHold, Wallet } from '../../client/types.gen';
import { count } from '../amount';
import { ask } from '../api';
import { useAsked, useSpaced } from '../asked';
import { Amount } from '../parts/amount';
import { FailureBox } from '../parts/failure';
import { Table, type Column } from '../parts/table';
import { Countdown } from '../parts/time';
import { href } from '../route';
import { may } from '../session';

const most = 100; // of up to 1,000
const spacing = 1000;

// Holds lists the wallet's open holds, and looks again whenever one may have changed. While nothing is held, there are
// none.
export function Holds({ wallet, onCapture, onRelease }: {
  wallet: Wallet;
  onCapture: (hold: OpenHold) => void;
  onRelease: (hold: OpenHold) => void;
}) {
  const { walletId, currency, held, version } = wallet;
  const holds = useAsked(() => ask(listHolds({ path: { walletId }, query: { limit: most } })), [walletId]);
  useSpaced(holds.reload, held > 0 ? version : 0, spacing);
  const columns = useMemo(() => columnsOf(currency, onCapture, onRelease), [currency, onCapture, onRelease]);
  const rows = holds.data?.items;
  return (
    <section aria-labelledby="holds">
      <header>
        <h2 id="holds">Open holds</h2>
      </header>
      {holds.failure && <FailureBox failure={holds.failure} again={holds.reload} />}
      {rows && <Table caption="Open holds of this wallet" columns={columns} rows={rows} keyOf={(h) => h.holdId} empty="Nothing is held." />}
      {holds.data?.next != null && <p class="faint">There are more: these are the {most} oldest.</p>}
    </section>
  );
}

function columnsOf(currency: string, onCapture: (hold: OpenHold) => void, onRelease: (hold: OpenHold) => void): Column<OpenHold>[] {
  const columns: Column<OpenHold>[] = [
    { name: 'No.', of: (h) => <a href={href('operations', h.holdId)}>{count(h.sequence)}</a> },
    { name: 'Reference', class: 'wide', of: (h) => h.reference ?? <span class="faint">—</span> },
    { name: 'Amount', class: 'number', of: (h) => <Amount minor={h.amount} currency={currency} /> },
    { name: 'Remains', class: 'number', of: (h) => <Amount minor={h.remaining} currency={currency} /> },
    { name: 'Expires', of: (h) => (h.expiresAt ? <Countdown until={h.expiresAt} /> : <span class="faint">never</span>) },
  ];
  if (!may('operations:write')) return columns;
  return [
    ...columns,
    {
      name: 'Action',
      of: (h) => (
        <span class="row">
          <button type="button" class="small" aria-label={`Capture hold ${h.sequence}`} onClick={() => onCapture(h)}>
            Capture
          </button>
          <button type="button" class="small" aria-label={`Release hold ${h.sequence}`} onClick={() => onRelease(h)}>
            Release
          </button>
        </span>
      ),
    },
  ];
}
