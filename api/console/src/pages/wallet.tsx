import { useCallback, useEffect, useState } from 'preact/hooks';
import type { OpenHold, Operation, WalletState } from '../../client/types.gen';
import { count } from '../amount';
import { Amount } from '../parts/amount';
import { Badge } from '../parts/badge';
import { Id } from '../parts/copy';
import { Fact } from '../parts/fact';
import { FailureBox } from '../parts/failure';
import { LiveMark } from '../parts/live';
import { Metadata } from '../parts/metadata';
import { Time } from '../parts/time';
import { may, remember } from '../session';
import { useTitle } from '../title';
import { CaptureDialog, HoldDialog, PayDialog, ReleaseDialog, ReverseDialog, StateDialog, TransferDialog } from '../wallet/actions';
import { Balances } from '../wallet/balances';
import { useWallet } from '../wallet/feed';
import { Holds } from '../wallet/holds';
import { Statement } from '../wallet/statement';

// What a dialog is open for.
type Doing =
  | { what: 'DEPOSIT' | 'WITHDRAW' | 'TRANSFER' | 'HOLD' }
  | { what: 'CAPTURE' | 'RELEASE'; hold: OpenHold }
  | { what: 'REVERSE'; operation: Operation }
  | { what: 'STATE'; state: WalletState };

export function WalletPage({ id }: { id: string }) {
  const { wallet, live, failure, reload } = useWallet(id);
  const [doing, setDoing] = useState<Doing>();
  const [touched, setTouched] = useState(0); // by an action of this page: look at the statement at once
  const onCapture = useCallback((hold: OpenHold) => setDoing({ what: 'CAPTURE', hold }), []);
  const onRelease = useCallback((hold: OpenHold) => setDoing({ what: 'RELEASE', hold }), []);
  const onReverse = useCallback((operation: Operation) => setDoing({ what: 'REVERSE', operation }), []);
  useTitle(wallet?.reference ?? 'Wallet');
  useEffect(() => {
    if (wallet) remember(wallet.walletId);
  }, [wallet?.walletId]);

  if (!wallet) {
    return (
      <>
        <h1>Wallet</h1>
        {failure ? <FailureBox failure={failure} again={reload} /> : <p class="faint">Loading…</p>}
      </>
    );
  }
  const { currency } = wallet;
  const props = { wallet, changed: () => setTouched((n) => n + 1), onClose: () => setDoing(undefined) };
  return (
    <>
      <div class="row spread">
        <h1>{wallet.reference ?? 'Wallet'}</h1>
        <LiveMark live={live} />
      </div>
      <p class="under">
        <Id id={wallet.walletId} what="the wallet's id" />
      </p>
      {failure && <FailureBox failure={failure} again={reload} />}
      <div class="card">
        <dl class="facts">
          <Fact name="Available" large>
            <Amount minor={wallet.available} currency={currency} />
          </Fact>
          <Fact name="Balance" large>
            <Amount minor={wallet.balance} currency={currency} />
          </Fact>
          <Fact name="Held" large>
            <Amount minor={wallet.held} currency={currency} />
          </Fact>
          <Fact name="State">
            <Badge is={wallet.state} />
          </Fact>
          <Fact name="Operations applied">{count(wallet.version)}</Fact>
          <Fact name="Tenant">{wallet.tenant}</Fact>
          <Fact name="Opened">
            <Time at={wallet.createdAt} />
          </Fact>
        </dl>
        <Metadata of={wallet.metadata} />
      </div>
      <Actions state={wallet.state} onDo={setDoing} />
      <Balances wallet={wallet} />
      <Holds wallet={wallet} onCapture={onCapture} onRelease={onRelease} />
      <Statement wallet={wallet} touched={touched} onReverse={onReverse} />
      {(doing?.what === 'DEPOSIT' || doing?.what === 'WITHDRAW') && <PayDialog {...props} type={doing.what} />}
      {doing?.what === 'TRANSFER' && <TransferDialog {...props} />}
      {doing?.what === 'HOLD' && <HoldDialog {...props} />}
      {doing?.what === 'CAPTURE' && <CaptureDialog {...props} hold={doing.hold} />}
      {doing?.what === 'RELEASE' && <ReleaseDialog {...props} hold={doing.hold} />}
      {doing?.what === 'REVERSE' && <ReverseDialog {...props} operation={doing.operation} />}
      {doing?.what === 'STATE' && <StateDialog {...props} state={doing.state} />}
    </>
  );
}

// Actions offers what the key may do and the wallet's state allows.
function Actions({ state, onDo }: { state: string; onDo: (doing: Doing) => void }) {
  const open = state !== 'CLOSED';
  const takes = open && state !== 'FROZEN';
  const controls = may('wallets:control');
  if (!may('operations:write') && !controls) return null;
  return (
    <div class="row actions" role="group" aria-label="Actions">
      {may('operations:write') && open && <button type="button" onClick={() => onDo({ what: 'DEPOSIT' })}>Deposit</button>}
      {may('operations:write') && takes && (
        <>
          <button type="button" onClick={() => onDo({ what: 'WITHDRAW' })}>Withdraw</button>
          <button type="button" onClick={() => onDo({ what: 'TRANSFER' })}>Transfer</button>
          <button type="button" onClick={() => onDo({ what: 'HOLD' })}>Hold</button>
        </>
      )}
      {controls && takes && <button type="button" onClick={() => onDo({ what: 'STATE', state: 'FROZEN' })}>Freeze</button>}
      {controls && !takes && <button type="button" onClick={() => onDo({ what: 'STATE', state: 'ACTIVE' })}>Activate</button>}
      {controls && open && <button type="button" onClick={() => onDo({ what: 'STATE', state: 'CLOSED' })}>Close</button>}
    </div>
  );
}
