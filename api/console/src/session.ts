import type { Key } from '../client/types.gen';
import { Store } from './store';

// Scope is what a key may do. More may be added.
export type Scope = 'wallets:read' | 'wallets:write' | 'operations:write' | 'wallets:control' | 'hooks:write' | 'status:read';

export interface Session {
  key: string; // empty if the api asks for none (AUTH=off)
  who: Key;
}

// What the tab keeps. It goes with the tab, and no other origin reads it.
const keyItem = 'legendary-wallet.key';
const recentItem = 'legendary-wallet.recent';

export const session = new Store<Session | undefined>(undefined);

// ended says why a session ended, if not because the person wanted it.
export const ended = new Store<string>('');

// askedForKeys is false if the api lets everyone in: the server writes that into the page.
export function askedForKeys(): boolean {
  return document.documentElement.dataset['auth'] !== 'off';
}

export function keptKey(): string {
  return sessionStorage.getItem(keyItem) ?? '';
}

export function begin(key: string, who: Key): void {
  if (key) sessionStorage.setItem(keyItem, key);
  ended.set('');
  session.set({ key, who });
}

export function end(why = ''): void {
  sessionStorage.removeItem(keyItem);
  sessionStorage.removeItem(recentItem);
  ended.set(why);
  session.set(undefined);
}

export function may(scope: Scope): boolean {
  return session.get()?.who.scopes.includes(scope) ?? false;
}

// maySeeStatus: the state of the whole system is for keys of all tenants only.
export function maySeeStatus(): boolean {
  return may('status:read') && session.get()?.who.allTenants === true;
}

const recentLimit = 12;

// recentWallets are the ids of the wallets that were opened in this tab, the last one first.
export function recentWallets(): string[] {
  try {
    const ids: unknown = JSON.parse(sessionStorage.getItem(recentItem) ?? '[]');
    return Array.isArray(ids) ? ids.filter((id): id is string => typeof id === 'string').slice(0, recentLimit) : [];
  } catch {
    return [];
  }
}

export function remember(walletId: string): void {
  const ids = [walletId, ...recentWallets().filter((id) => id !== walletId)];
  sessionStorage.setItem(recentItem, JSON.stringify(ids.slice(0, recentLimit)));
}
