import type { Failure } from '../api';
import { Copy } from './copy';

// FailureBox shows what the API said of a request that was not done, all of it, and copies it for whoever helps.
export function FailureBox({ failure, again }: { failure: Failure; again?: () => unknown }) {
  const { problem, requestId, retryAfter } = failure;
  return (
    <div class="failure" role="alert">
      <p>
        <strong>{failure.message}</strong>
        {problem?.detail && <span> {problem.detail}</span>}
      </p>
      {problem?.errors && (
        <ul>
          {problem.errors.map((e) => (
            <li key={e.field + e.detail}>
              <code>{e.field}</code> {e.detail}
            </li>
          ))}
        </ul>
      )}
      {retryAfter && <p>It may be tried again in {retryAfter} s.</p>}
      {failure.status > 0 && (
        <p class="faint">
          {failure.code && <code>{failure.code}</code>} Status {failure.status}
          {requestId && (
            <>
              {' '}· Request <code>{requestId}</code>
            </>
          )}{' '}
          <Copy text={described(failure)} what="the error" />
        </p>
      )}
      {again && (
        <button type="button" onClick={() => void again()}>
          Try again
        </button>
      )}
    </div>
  );
}

function described(failure: Failure): string {
  return JSON.stringify({ requestId: failure.requestId, at: new Date().toISOString(), ...(failure.problem ?? { status: failure.status }) }, null, 2);
}
