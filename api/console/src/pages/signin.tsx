import { useEffect, useRef, useState } from 'preact/hooks';
import { Failure, whoHas } from '../api';
import { failureOf } from '../asked';
import { FailureBox } from '../parts/failure';
import { askedForKeys, begin, end, ended, keptKey } from '../session';
import { useStore } from '../store';
import { useTitle } from '../title';

// SignIn asks for an API key, unless the tab has one already or the api asks for none.
export function SignIn() {
  useTitle('Sign in');
  const why = useStore(ended);
  const [trying, setTrying] = useState(!askedForKeys() || keptKey() !== '');
  const [failure, setFailure] = useState<Failure>();
  const input = useRef<HTMLInputElement>(null);

  const tryKey = async (key: string) => {
    setTrying(true);
    setFailure(undefined);
    try {
      begin(key, await whoHas(key));
    } catch (error) {
      const met = failureOf(error);
      if (met.status === 401) end(); // the tab forgets a key that is none
      setFailure(met);
      setTrying(false);
    }
  };
  useEffect(() => {
    if (trying) void tryKey(keptKey());
  }, []);
  useEffect(() => {
    if (!trying) input.current?.focus();
  }, [trying]);

  if (trying && !input.current) return <main class="signin" aria-busy="true" />;
  const submit = (event: Event) => {
    event.preventDefault();
    const key = input.current?.value.trim() ?? '';
    if (key || !askedForKeys()) void tryKey(key);
  };
  return (
    <main class="signin">
      <form class="card" onSubmit={submit}>
        <h1>
          <img src="../favicon.ico" alt="" width="32" height="32" /> Legendary Wallet
        </h1>
        {why && <p class="failure" role="alert">{why}</p>}
        {askedForKeys() && (
          <label>
            API key
            <input ref={input} type="password" name="key" required autoComplete="off" spellcheck={false} aria-describedby="key-says" />
          </label>
        )}
        {failure && <FailureBox failure={failure} />}
        <button class="primary" disabled={trying} aria-busy={trying}>
          {askedForKeys() ? 'Sign in' : 'Try again'}
        </button>
        {askedForKeys() && (
          <p class="faint" id="key-says">
            Made with <code>ctl keys create</code>. This tab keeps it until it is closed.
          </p>
        )}
      </form>
    </main>
  );
}
