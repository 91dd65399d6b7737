import { useRef, useState } from 'preact/hooks';
import { listOperations } from '../../client/sdk.gen';
import type { Wallet } from '../../client/types.gen';
import { count } from '../amount';
import { ask, type Failure } from '../api';
import { failureOf } from '../asked';
import { header, lines } from '../csv';
import { announce } from '../parts/announce';
import { FailureBox } from '../parts/failure';
import type { Filters } from './statement';

const most = 200_000; // operations: what a browser and a spreadsheet hold

// Export saves the statement, as it is filtered, as a file. It is as it was when the button was pressed, or newer.
export function Export({ wallet, filters }: { wallet: Wallet; filters: Filters }) {
  const [read, setRead] = useState<number>();
  const [failure, setFailure] = useState<Failure>();
  const [cut, setCut] = useState(false);
  const stop = useRef<AbortController | undefined>(undefined);
  const save = async () => {
    const over = (stop.current = new AbortController());
    const { walletId, currency } = wallet;
    const parts = [header];
    let rows = 0;
    let after: number | undefined;
    setFailure(undefined);
    setCut(false);
    setRead(0);
    try {
      do {
        const page = await ask(listOperations({ path: { walletId }, query: { ...filters, limit: 500, after }, signal: over.signal }));
        parts.push(lines(page.items, currency));
        rows += page.items.length;
        after = page.next ?? undefined;
        setRead(rows);
      } while (after !== undefined && rows < most);
      setCut(after !== undefined);
      download(new Blob(parts, { type: 'text/csv;charset=utf-8' }), `${walletId}.csv`);
      announce(`${count(rows)} operations were saved`);
    } catch (error) {
      if (!over.signal.aborted) setFailure(failureOf(error));
    }
    setRead(undefined);
  };
  return (
    <>
      {read === undefined ? (
        <button type="button" class="small" onClick={() => void save()}>
          Save as CSV
        </button>
      ) : (
        <button type="button" class="small" onClick={() => stop.current?.abort()}>
          {count(read)} read… Stop
        </button>
      )}
      {cut && <p class="notice">The file has the newest {count(most)} operations. Use the filters for older ones.</p>}
      {failure && <FailureBox failure={failure} />}
    </>
  );
}

function download(file: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
