import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { Find } from './pages/find';
import { OperationPage } from './pages/operation';
import { SignIn } from './pages/signin';
import { System } from './pages/system';
import { WalletPage } from './pages/wallet';
import { Webhooks } from './pages/webhooks';
import { Announcer } from './parts/announce';
import { href, route, type Route } from './route';
import { askedForKeys, end, may, maySeeStatus, session, type Session } from './session';
import { useStore } from './store';

export function App() {
  const signedIn = useStore(session);
  return (
    <>
      {signedIn ? <SignedIn session={signedIn} /> : <SignIn />}
      <Announcer />
    </>
  );
}

function SignedIn({ session }: { session: Session }) {
  const here = useStore(route);
  const main = useRef<HTMLElement>(null);
  const place = here.path.join('/');
  useEffect(() => {
    window.scrollTo(0, 0);
    // A screen reader and the tab key begin with the new page, unless that has said where.
    if (!main.current?.contains(document.activeElement)) main.current?.focus();
  }, [place]);
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => (e.preventDefault(), main.current?.focus())}>
        Skip to the page
      </a>
      <header class="top">
        <a class="brand" href={href()}>
          <img src="../favicon.ico" alt="" width="24" height="24" /> Legendary Wallet
        </a>
        <nav aria-label="Pages">
          <Entry to={[]} here={here}>Find</Entry>
          {may('hooks:write') && <Entry to={['webhooks']} here={here}>Webhooks</Entry>}
          {maySeeStatus() && <Entry to={['system']} here={here}>System</Entry>}
        </nav>
        <KeyMenu session={session} />
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        <Page here={here} key={place} />
      </main>
    </>
  );
}

function Entry({ to, here, children }: { to: string[]; here: Route; children: ComponentChildren }) {
  const current = (here.path[0] ?? '') === (to[0] ?? '');
  return (
    <a href={href(...to)} aria-current={current ? 'page' : undefined}>
      {children}
    </a>
  );
}

function Page({ here }: { here: Route }) {
  const [name = '', id = ''] = here.path;
  switch (name) {
    case '':
      return <Find query={here.query} />;
    case 'wallets':
      return id ? <WalletPage id={id} /> : <Find query={here.query} />;
    case 'operations':
      return <OperationPage id={id} />;
    case 'webhooks':
      return <Webhooks id={id} />;
    case 'system':
      return <System />;
    default:
      return (
        <>
          <h1>There is no such page</h1>
          <p>
            <a href={href()}>Find a wallet</a>
          </p>
        </>
      );
  }
}

// KeyMenu says whose key is used, and what it may do.
function KeyMenu({ session: { who } }: { session: Session }) {
  return (
    <details class="key">
      <summary>
        {who.client || 'No key'} <span class="faint">{who.allTenants ? 'all tenants' : who.tenant}</span>
      </summary>
      <div class="card">
        <p>This key may</p>
        <ul>
          {who.scopes.map((scope) => (
            <li key={scope}>
              <code>{scope}</code>
            </li>
          ))}
        </ul>
        {askedForKeys() ? (
          <button type="button" onClick={() => end()}>
            Sign out
          </button>
        ) : (
          <p class="faint">The API asks for no keys (AUTH=off).</p>
        )}
      </div>
    </details>
  );
}
