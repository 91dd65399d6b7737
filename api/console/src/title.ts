import { useEffect } from 'preact/hooks';

// useTitle names the page in the browser's tab and history.
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Legendary Wallet`;
  }, [title]);
}
