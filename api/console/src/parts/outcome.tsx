import { useEffect, useState } from 'preact/hooks';
import { getOperation } from '../../client/sdk.gen';
import type { Operation } from '../../client/types.gen';
import { ask, type Failure } from '../api';
import { failureOf } from '../asked';
import { href } from '../route';
import { isFinal, reason, typeWord } from '../words';
import { Amount } from './amount';
import { announce } from './announce';
import { Badge } from './badge';
import { FailureBox } from './failure';

const pause = 1000; // after a failed question

// Outcome follows an operation that was accepted until it is final. A transfer is final when it is received or back.
export function Outcome({ accepted, currency, changed, onClose }: {
  accepted: Operation;
  currency: string;
  changed?: (operation: Operation) => void; // on acceptance, and on every change
  onClose: () => void;
}) {
  const [operation, setOperation] = useState(accepted);
  const [failure, setFailure] = useState<Failure>();
  useEffect(() => changed?.(operation), [operation]);
  useEffect(() => {
    let over = false;
    const { walletId, operationId } = accepted;
    const watch = async () => {
      for (let last = accepted; !over && !isFinal(last); ) {
        try {
          last = await ask(getOperation({ path: { walletId, operationId }, headers: { Prefer: 'wait=20' } }));
          if (over) return;
          setFailure(undefined);
          setOperation(last);
          if (isFinal(last)) announce(`${typeWord(last.operationType)} ${last.settlement ?? last.status}`);
          // A server with too many that wait answers at once.
          else await new Promise((resolve) => setTimeout(resolve, 250));
        } catch (error) {
          const met = failureOf(error);
          if (over) return;
          setFailure(met);
          if (met.status === 401 || met.status === 403) return;
          await new Promise((resolve) => setTimeout(resolve, (met.retryAfter ?? 0) * 1000 || pause));
        }
      }
    };
    void watch();
    return () => void (over = true);
  }, [accepted]);
  const { settlement } = operation;
  return (
    <div class="act">
      <ol class="steps">
        <li class="done">Accepted as operation {operation.sequence} of the wallet</li>
        <li class={operation.status === 'PENDING' ? 'now' : operation.status === 'FAILED' ? 'failed' : 'done'}>
          {operation.status === 'PENDING' ? 'Waiting for its turn…' : <Badge is={operation.status} />}
          {operation.status === 'FAILED' && (
            <>
              {' '}
              <code>{operation.failureReason}</code> {reason(operation.failureReason)} The wallet is as it was.
            </>
          )}
          {operation.status === 'PROCESSED' && operation.balanceAfter !== undefined && (
            <>
              {' '}
              Balance <Amount minor={operation.balanceAfter} currency={currency} />
            </>
          )}
        </li>
        {settlement && (
          <li class={settlement === 'PENDING' ? 'now' : settlement === 'RETURNED' ? 'failed' : 'done'}>
            {settlement === 'PENDING' ? 'On its way to the other wallet…' : <Badge is={settlement} />}
            {settlement === 'COMPLETED' && ' The other wallet has received it.'}
            {settlement === 'RETURNED' && ' The other wallet could not receive it: the money is back.'}
          </li>
        )}
      </ol>
      {failure && <FailureBox failure={failure} />}
      <footer>
        <a class="button" href={href('operations', operation.operationId)} onClick={onClose}>
          See the operation
        </a>
        <button type="button" class="primary" onClick={onClose}>
          {isFinal(operation) ? 'Done' : 'Close'}
        </button>
      </footer>
    </div>
  );
}
