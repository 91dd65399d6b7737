import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import {
  captureHold, createHold, createTransfer, createWallet, createWalletOperation, getWallet, releaseHold, reverseOperation, setWalletState,
} from '../../client/sdk.gen';
import type { OpenHold, Operation, Wallet, WalletState } from '../../client/types.gen';
import { money } from '../amount';
import { ask, type Failure } from '../api';
import { failureOf } from '../asked';
import { Act } from '../parts/act';
import { Amount } from '../parts/amount';
import { Dialog } from '../parts/dialog';
import { FailureBox } from '../parts/failure';
import { FieldOf, useAmount, useMoment, useText, useUUID } from '../parts/fields';
import { Outcome } from '../parts/outcome';
import { Time } from '../parts/time';
import { go } from '../route';
import { typeWord } from '../words';

// An intent is what a form comes to: what will happen, and the request that makes it happen.
interface Intent {
  says: ComponentChildren;
  button: string;
  danger?: boolean;
  send: (headers: { 'Idempotency-Key': string }) => Promise<Operation>;
}

interface ActionProps {
  wallet: Wallet;
  changed: () => void; // the wallet has, or will have, something new
  onClose: () => void;
}

// Steps takes a person from a form to what will happen, and on to what came of it. The form is kept, so that "Back"
// finds it as it was.
function Steps({ title, wallet, changed, onClose, form }: ActionProps & { title: string; form: (propose: (intent: Intent) => void) => ComponentChildren }) {
  const [intent, setIntent] = useState<Intent>();
  return (
    <Dialog title={title} onClose={onClose}>
      <div>
        <div hidden={intent !== undefined}>{form(setIntent)}</div>
        {intent && (
          <Act
            says={intent.says}
            button={intent.button}
            danger={intent.danger ?? false}
            send={(key) => intent.send({ 'Idempotency-Key': key })}
            outcome={(operation) => <Outcome accepted={operation} currency={wallet.currency} changed={changed} onClose={onClose} />}
            back={() => setIntent(undefined)}
          />
        )}
      </div>
    </Dialog>
  );
}

// FormOf checks its fields as a whole before it goes on. `check` may ask the API, and throw what it answers.
function FormOf({ ready, check, children }: { ready: boolean; check: () => void | Promise<void>; children: ComponentChildren }) {
  const [failure, setFailure] = useState<Failure>();
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!ready || busy) return;
    setFailure(undefined);
    setBusy(true);
    try {
      await check();
    } catch (error) {
      setFailure(failureOf(error));
    }
    setBusy(false);
  };
  return (
    <form onSubmit={(e) => void submit(e)}>
      {children}
      {failure && <FailureBox failure={failure} />}
      <footer>
        <button class="primary" disabled={!ready} aria-busy={busy}>
          Continue
        </button>
      </footer>
    </form>
  );
}

// nameOf is a wallet as a sentence names it.
function nameOf({ walletId, reference }: Wallet): ComponentChildren {
  return (
    <>
      {reference && <b>{reference} </b>}
      <code>{walletId}</code>
    </>
  );
}

// Then says what would be, if nothing else comes before it. What is pending already does.
function Then({ what, now, change, currency }: { what: string; now: number; change: number; currency: string }) {
  return (
    <p>
      {what} now <Amount minor={now} currency={currency} />, then{' '}
      {now + change < 0 ? <strong>not enough: it will fail</strong> : <Amount minor={now + change} currency={currency} />}
      <span class="faint"> unless something else comes first</span>
    </p>
  );
}

// bodyOf leaves out what is not there.
function bodyOf<T extends object>(fields: T): { [K in keyof T]: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined)) as { [K in keyof T]: NonNullable<T[K]> };
}

export function PayDialog({ type, ...props }: ActionProps & { type: 'DEPOSIT' | 'WITHDRAW' }) {
  const { wallet } = props;
  const { walletId, currency } = wallet;
  const amount = useAmount(currency);
  const reference = useText(true);
  const verb = type === 'DEPOSIT' ? 'Deposit' : 'Withdraw';
  const propose = (minor: number): Intent => ({
    says: (
      <>
        <p>
          {type === 'DEPOSIT' ? 'Pays ' : 'Takes '}
          <Amount minor={minor} currency={currency} /> {type === 'DEPOSIT' ? 'into' : 'out of'} {nameOf(wallet)}
          {reference.value && <> with the reference “{reference.value}”</>}.
        </p>
        <Then what="Available" now={wallet.available} change={type === 'DEPOSIT' ? minor : -minor} currency={currency} />
      </>
    ),
    button: `${verb} ${money(minor, currency)}`,
    send: (headers) =>
      ask(createWalletOperation({ path: { walletId }, body: bodyOf({ operationType: type, amount: minor, reference: reference.value }), headers })),
  });
  return (
    <Steps
      {...props}
      title={verb}
      form={(done) => (
        <FormOf ready={amount.value != null && reference.value !== undefined} check={() => done(propose(amount.value!))}>
          <FieldOf label={`Amount in ${currency}`} field={amount} inputMode="decimal" required />
          <FieldOf label="Reference" field={reference} />
        </FormOf>
      )}
    />
  );
}

export function TransferDialog(props: ActionProps) {
  const { wallet } = props;
  const { walletId, currency } = wallet;
  const to = useUUID();
  const amount = useAmount(currency);
  const reference = useText(true);
  const [mistake, setMistake] = useState('');
  const propose = async (minor: number, toWalletId: string): Promise<Intent | undefined> => {
    setMistake('');
    const other = await ask(getWallet({ path: { walletId: toWalletId } }));
    if (toWalletId === walletId.toLowerCase()) return void setMistake('This is the wallet that pays.');
    if (other.currency !== currency) return void setMistake(`That wallet has ${other.currency}, this one ${currency}.`);
    return {
      says: (
        <>
          <p>
            Takes <Amount minor={minor} currency={currency} /> out of {nameOf(wallet)} and pays it into {nameOf(other)}
            {reference.value && <> with the reference “{reference.value}”</>}.
          </p>
          <Then what="Available" now={wallet.available} change={-minor} currency={currency} />
          {other.state === 'CLOSED' && (
            <p>
              <strong>That wallet is closed: the money will come back.</strong>
            </p>
          )}
          <p class="faint">A transfer is not reversed: the other wallet would have to send it back.</p>
        </>
      ),
      button: `Transfer ${money(minor, currency)}`,
      send: (headers) => ask(createTransfer({ path: { walletId }, body: bodyOf({ toWalletId, amount: minor, reference: reference.value }), headers })),
    };
  };
  return (
    <Steps
      {...props}
      title="Transfer"
      form={(done) => (
        <FormOf
          ready={to.value != null && amount.value != null && reference.value !== undefined}
          check={async () => {
            const intent = await propose(amount.value!, to.value!);
            if (intent) done(intent);
          }}
        >
          <FieldOf label="To the wallet" field={to} required />
          {mistake && (
            <p class="failure" role="alert">
              {mistake}
            </p>
          )}
          <FieldOf label={`Amount in ${currency}`} field={amount} inputMode="decimal" required />
          <FieldOf label="Reference" field={reference} />
        </FormOf>
      )}
    />
  );
}

export function HoldDialog(props: ActionProps) {
  const { wallet } = props;
  const { walletId, currency } = wallet;
  const amount = useAmount(currency);
  const expiresAt = useMoment('Without it the hold stays until it is captured or released.');
  const reference = useText(true);
  const propose = (minor: number): Intent => ({
    says: (
      <>
        <p>
          Keeps <Amount minor={minor} currency={currency} /> of {nameOf(wallet)}, to be captured or released later
          {expiresAt.value ? (
            <>
              , until <Time at={expiresAt.value} />
            </>
          ) : (
            ''
          )}
          . The balance stays.
        </p>
        <Then what="Available" now={wallet.available} change={-minor} currency={currency} />
      </>
    ),
    button: `Hold ${money(minor, currency)}`,
    send: (headers) =>
      ask(createHold({ path: { walletId }, body: bodyOf({ amount: minor, expiresAt: expiresAt.value, reference: reference.value }), headers })),
  });
  return (
    <Steps
      {...props}
      title="Hold"
      form={(done) => (
        <FormOf ready={amount.value != null && expiresAt.value !== undefined && reference.value !== undefined} check={() => done(propose(amount.value!))}>
          <FieldOf label={`Amount in ${currency}`} field={amount} inputMode="decimal" required />
          <FieldOf label="Expires" field={expiresAt} type="datetime-local" />
          <FieldOf label="Reference" field={reference} />
        </FormOf>
      )}
    />
  );
}

export function CaptureDialog({ hold, ...props }: ActionProps & { hold: OpenHold }) {
  const { wallet } = props;
  const { walletId, currency } = wallet;
  const amount = useAmount(currency, `Without it all that remains: ${money(hold.remaining, currency)}`);
  const to = useUUID('Without it the money leaves this wallet as a withdrawal does.');
  const reference = useText(true);
  const [final, setFinal] = useState(true);
  const propose = async (): Promise<Intent> => {
    const minor = amount.value ?? hold.remaining;
    const other = to.value ? await ask(getWallet({ path: { walletId: to.value } })) : undefined;
    return {
      says: (
        <>
          <p>
            Takes <Amount minor={minor} currency={currency} /> out of {nameOf(wallet)}, which the hold keeps
            {other ? <>, and pays it into {nameOf(other)}</> : ''}.
          </p>
          {minor > hold.remaining && (
            <p>
              <strong>Only {money(hold.remaining, currency)} remain of the hold: it will fail.</strong>
            </p>
          )}
          <p>{final ? 'The hold is closed, and what is left of it is available again.' : 'What is left of the hold can be captured later.'}</p>
        </>
      ),
      button: `Capture ${money(minor, currency)}`,
      send: (headers) =>
        ask(
          captureHold({
            path: { walletId, holdId: hold.holdId },
            body: bodyOf({ amount: amount.value, final, toWalletId: to.value, reference: reference.value }),
            headers,
          }),
        ),
    };
  };
  return (
    <Steps
      {...props}
      title="Capture a hold"
      form={(done) => (
        <FormOf
          ready={amount.value !== undefined && to.value !== undefined && reference.value !== undefined}
          check={async () => done(await propose())}
        >
          <FieldOf label={`Amount in ${currency}`} field={amount} inputMode="decimal" />
          <label class="check">
            <input type="checkbox" checked={final} onChange={(e) => setFinal(e.currentTarget.checked)} /> Close the hold
          </label>
          <FieldOf label="To the wallet" field={to} />
          <FieldOf label="Reference" field={reference} />
        </FormOf>
      )}
    />
  );
}

export function ReleaseDialog({ hold, ...props }: ActionProps & { hold: OpenHold }) {
  const { wallet } = props;
  const { walletId, currency } = wallet;
  const reference = useText(true);
  const propose = (): Intent => ({
    says: (
      <>
        <p>
          Makes <Amount minor={hold.remaining} currency={currency} /> of {nameOf(wallet)} available again, and closes the hold. It cannot be captured
          any more.
        </p>
        <Then what="Available" now={wallet.available} change={hold.remaining} currency={currency} />
      </>
    ),
    button: `Release ${money(hold.remaining, currency)}`,
    send: (headers) => ask(releaseHold({ path: { walletId, holdId: hold.holdId }, body: bodyOf({ reference: reference.value }), headers })),
  });
  return (
    <Steps
      {...props}
      title="Release a hold"
      form={(done) => (
        <FormOf ready={reference.value !== undefined} check={() => done(propose())}>
          <FieldOf label="Reference" field={reference} />
        </FormOf>
      )}
    />
  );
}

export function ReverseDialog({ operation, ...props }: ActionProps & { operation: Operation }) {
  const { wallet } = props;
  const { walletId, currency } = wallet;
  const amount = useAmount(currency, 'Without it all that is left to reverse.');
  const reference = useText(true);
  const takes = operation.operationType === 'DEPOSIT';
  const propose = (): Intent => ({
    says: (
      <p>
        Undoes {amount.value === null ? 'what is left of' : <Amount minor={amount.value} currency={currency} />} {amount.value === null ? '' : 'of '}
        the {typeWord(operation.operationType).toLowerCase()} of <Amount minor={operation.amount} currency={currency} /> (operation {operation.sequence}):{' '}
        {takes ? 'the money is taken out of' : 'the money comes back to'} {nameOf(wallet)}.
      </p>
    ),
    button: amount.value == null ? 'Reverse' : `Reverse ${money(amount.value, currency)}`,
    danger: true,
    send: (headers) =>
      ask(
        reverseOperation({
          path: { walletId, operationId: operation.operationId },
          body: bodyOf({ amount: amount.value, reference: reference.value }),
          headers,
        }),
      ),
  });
  return (
    <Steps
      {...props}
      title={`Reverse operation ${operation.sequence}`}
      form={(done) => (
        <FormOf ready={amount.value !== undefined && reference.value !== undefined} check={() => done(propose())}>
          <FieldOf label={`Amount in ${currency}`} field={amount} inputMode="decimal" />
          <FieldOf label="Reference" field={reference} />
        </FormOf>
      )}
    />
  );
}

const stateWords: Record<WalletState, { verb: string; says: string }> = {
  FROZEN: { verb: 'Freeze', says: 'Nothing can be taken out of it until it is activated again; what comes in still does.' },
  ACTIVE: { verb: 'Activate', says: 'Money can be taken out and paid in again.' },
  CLOSED: { verb: 'Close', says: 'Everything that is asked of it fails from then on, until it is activated again. It has to be empty and without holds, or this fails.' },
};

export function StateDialog({ state, ...props }: ActionProps & { state: WalletState }) {
  const { wallet } = props;
  const reason = useText(false);
  const { verb, says } = stateWords[state];
  const propose = (text: string): Intent => ({
    says: (
      <>
        <p>
          {verb}s {nameOf(wallet)}, because of “{text}”.
        </p>
        <p>{says}</p>
        {state === 'CLOSED' && (wallet.balance > 0 || wallet.held > 0) && (
          <p>
            <strong>It has {money(wallet.balance, wallet.currency)} now: it will fail.</strong>
          </p>
        )}
      </>
    ),
    button: `${verb} this wallet`,
    danger: state !== 'ACTIVE',
    send: (headers) => ask(setWalletState({ path: { walletId: wallet.walletId }, body: { state, reason: text }, headers })),
  });
  return (
    <Steps
      {...props}
      title={`${verb} this wallet`}
      form={(done) => (
        <FormOf ready={reason.value != null} check={() => done(propose(reason.value!))}>
          <FieldOf label="Reason" field={reason} required>
            The statement keeps it.
          </FieldOf>
        </FormOf>
      )}
    />
  );
}

// OpenWalletDialog opens a wallet and goes to it.
export function OpenWalletDialog({ onClose }: { onClose: () => void }) {
  const [currency, setCurrency] = useState('');
  const reference = useText(true);
  const [asked, setAsked] = useState(false);
  const right = currency === '' || /^[A-Z]{3}$/.test(currency);
  return (
    <Dialog title="Open a wallet" onClose={onClose}>
      <div>
        <div hidden={asked}>
          <FormOf ready={right && reference.value !== undefined} check={() => setAsked(true)}>
            <FieldOf
              label="Currency"
              field={{
                text: currency,
                set: (text) => setCurrency(text.trim().toUpperCase()),
                value: currency,
                hint: right ? 'Without it, the one that the API is set to.' : 'Three letters, such as EUR.',
                wrong: !right,
              }}
            />
            <FieldOf label="Reference" field={reference} />
          </FormOf>
        </div>
        {asked && (
          <Act
            says={
              <p>
                Opens a wallet{currency && ` in ${currency}`}
                {reference.value && <> with the reference “{reference.value}”</>}. A wallet is not deleted, but can be closed.
              </p>
            }
            button="Open the wallet"
            send={(key) =>
              ask(createWallet({ body: bodyOf({ currency: currency || null, reference: reference.value }), headers: { 'Idempotency-Key': key } }))
            }
            outcome={(wallet) => <Gone to={wallet.walletId} />}
            back={() => setAsked(false)}
          />
        )}
      </div>
    </Dialog>
  );
}

function Gone({ to }: { to: string }) {
  useState(() => go('wallets', to));
  return null;
}
