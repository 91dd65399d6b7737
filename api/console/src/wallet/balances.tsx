import { useEffect, useRef, useState } from 'preact/hooks';
import { listOperations } from '../../client/sdk.gen';
import type { Wallet } from '../../client/types.gen';
import { count, decimal, money } from '../amount';
import { ask } from '../api';
import { failureOf } from '../asked';
import { Plot } from '../parts/plot';

interface Point {
  sequence: number;
  balance: number;
  available: number;
  at?: string | undefined;
}

const most = 600; // points: however long the page is open
const begun = 200; // operations that it begins with

// Balances plots a wallet's balance over its last operations. It begins with the statement, and goes on with what is
// told live: on a busy wallet some operations apart.
export function Balances({ wallet }: { wallet: Wallet }) {
  const points = useRef<Point[]>([]);
  const [loaded, setLoaded] = useState(false);
  const [, draw] = useState(0);
  const { walletId, currency, version, balance, available } = wallet;

  useEffect(() => {
    let over = false;
    const load = async () => {
      try {
        const { items } = await ask(listOperations({ path: { walletId }, query: { limit: begun } }));
        if (over) return;
        const known = items.flatMap((o): Point[] =>
          o.balanceAfter === undefined ? [] : [{ sequence: o.sequence, balance: o.balanceAfter, available: o.availableAfter ?? o.balanceAfter, at: o.appliedAt }],
        );
        const first = known.reverse();
        const last = first.at(-1)?.sequence ?? 0;
        points.current = [...first, ...points.current.filter((p) => p.sequence > last)].slice(-most);
      } catch (error) {
        failureOf(error); // the statement below says what is wrong
      }
      if (!over) setLoaded(true);
    };
    void load();
    return () => void (over = true);
  }, [walletId]);

  useEffect(() => {
    const last = points.current.at(-1);
    if (version === 0 || (last && version <= last.sequence)) return;
    points.current = [...points.current, { sequence: version, balance, available, at: new Date().toISOString() }].slice(-most);
    draw((n) => n + 1);
  }, [version]);

  const shown = points.current;
  if (!loaded || shown.length < 2) return null;
  const values = shown.map((p) => p.balance);
  const first = shown[0]!;
  const last = shown.at(-1)!;
  return (
    <Plot
      says={`The balance from operation ${count(first.sequence)} to ${count(last.sequence)}: ${money(first.balance, currency)} at first, ${money(last.balance, currency)} at last, between ${money(Math.min(...values), currency)} and ${money(Math.max(...values), currency)}.`}
      x={shown.map((p) => p.sequence)}
      series={[
        { name: 'Available', values: shown.map((p) => p.available), color: 'good', stepped: true },
        { name: 'Balance', values, color: 'accent', stepped: true },
      ]}
      y={(value) => decimal(value, currency)}
      at={(i) => {
        const p = shown[i];
        return p ? `Operation ${count(p.sequence)}: balance ${money(p.balance, currency)}, available ${money(p.available, currency)}${p.at ? `, ${new Date(p.at).toLocaleString()}` : ''}` : '';
      }}
    />
  );
}
