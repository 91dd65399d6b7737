import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Failure, newKey } from '../api';
import { failureOf } from '../asked';
import { FailureBox } from './failure';

const doubleClick = 500; // milliseconds that its second click takes at most

interface Action<T> {
  says: ComponentChildren; // what will happen
  button: string; // names it again, such as Withdraw 10.50 EUR
  danger?: boolean;
  send: (key: string) => Promise<T>; // key is the Idempotency-Key of this intent
  outcome: (result: T) => ComponentChildren;
  back?: () => void; // to the form, while nothing was sent
}

// Act says what will happen, does it when the person agrees, once, and shows what came of it. The key is made when the
// question is asked: sent twice, by a double click or after an error that leaves the outcome open, it is still one.
export function Act<T>({ says, button, danger = false, send, outcome, back }: Action<T>) {
  const [key] = useState(newKey);
  const [asked] = useState(Date.now);
  const [state, setState] = useState<{ sending?: boolean; failure?: Failure; done?: { result: T } }>({});
  const [unsure, setUnsure] = useState(false); // for good: a later refusal says nothing of what was sent before
  const agree = useRef<HTMLButtonElement>(null);
  useEffect(() => agree.current?.focus(), []);
  if (state.done) return <>{outcome(state.done.result)}</>;
  const act = async (event: MouseEvent) => {
    // The second click of a double click on the button before this one is not meant for this one.
    const stray = event.detail > 1 && Date.now() - asked < doubleClick;
    if (stray || state.sending) return;
    setState({ sending: true });
    try {
      setState({ done: { result: await send(key) } });
    } catch (error) {
      const failure = failureOf(error);
      setState({ failure });
      setUnsure((before) => before || failure.unsure);
    }
  };
  const { failure } = state;
  return (
    <div class="act">
      <div class="says">{says}</div>
      {failure && <FailureBox failure={failure} />}
      {unsure && (
        <p>
          It is not known whether this was done. Send it again: it has the same <code>Idempotency-Key</code>, and will be done once.
        </p>
      )}
      <footer>
        {back && !unsure && (
          <button type="button" disabled={state.sending} onClick={back}>
            Back
          </button>
        )}
        <button type="button" ref={agree} class={danger ? 'danger' : 'primary'} aria-busy={state.sending} disabled={state.sending} onClick={(e) => void act(e)}>
          {state.sending ? 'Sending…' : failure ? 'Send again' : button}
        </button>
      </footer>
    </div>
  );
}
