import { count, money } from '../amount';

// Amount is an amount of money and, beside it, the integer that the API knows.
export function Amount({ minor, currency, sign = '' }: { minor: number | undefined; currency: string; sign?: '+' | '−' | '' }) {
  if (minor === undefined) return <span class="faint">—</span>;
  return (
    <span class="amount">
      {sign}
      {money(minor, currency)} <small title="In the minor unit, as the API has it">{count(minor)}</small>
    </span>
  );
}
