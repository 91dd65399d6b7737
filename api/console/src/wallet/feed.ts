import { useEffect, useState } from 'preact/hooks';
import { getWallet } from '../../client/sdk.gen';
import type { Wallet } from '../../client/types.gen';
import { ask, type Failure } from '../api';
import { useAsked } from '../asked';
import { follow, type Live } from '../follow';

export interface Feed {
  wallet: Wallet | undefined; // never older than one that was shown before
  live: Live;
  failure: Failure | undefined;
  reload: () => Promise<void>;
}

// useWallet reads a wallet and follows it.
export function useWallet(walletId: string): Feed {
  const asked = useAsked(() => ask(getWallet({ path: { walletId } })), [walletId]);
  const [now, setNow] = useState<Wallet>();
  const [live, setLive] = useState<{ live: Live; failure?: Failure | undefined }>({ live: 'connecting' });
  const [attempt, setAttempt] = useState(0);
  const { data } = asked;
  useEffect(() => setNow((before) => (data && (!before || before.version <= data.version) ? data : before)), [data]);
  const exists = data !== undefined;
  useEffect(() => {
    if (!exists) return;
    return follow(walletId, {
      live: (live, failure) => setLive((before) => (before.live === live && !failure ? before : { live, failure })),
      balance: ({ version, balance, held, available, state }) =>
        setNow((before) => (before && before.version <= version ? { ...before, version, balance, held, available, state } : before)),
    });
  }, [walletId, exists, attempt]);
  const reload = async () => {
    await asked.reload();
    if (live.live === 'ended') setAttempt(attempt + 1);
  };
  return { wallet: now, live: live.live, failure: asked.failure ?? live.failure, reload };
}
