import { Store } from './store';

// A route is what stands behind the # of the address: pages of the console are never asked of the server.
//   #/wallets/ID?type=DEPOSIT   path: ['wallets', ID], query: type=DEPOSIT
export interface Route {
  path: string[];
  query: URLSearchParams;
}

export function parseRoute(hash: string): Route {
  const [path = '', query] = hash.replace(/^#?\/?/, '').split('?', 2);
  return { path: path.split('/').filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // written by hand
  }
}

// href is the address of a page: href('wallets', id).
export function href(...path: string[]): string {
  return '#/' + path.map(encodeURIComponent).join('/');
}

export function go(...path: string[]): void {
  location.hash = href(...path);
}

export const route = new Store<Route>(parseRoute(''));

export function watchRoute(): void {
  const read = () => route.set(parseRoute(location.hash));
  addEventListener('hashchange', read);
  read();
}
