import { Store, useStore } from '../store';

const spoken = new Store('');

// announce has a screen reader say something that others see.
export function announce(text: string): void {
  spoken.set('');
  setTimeout(() => spoken.set(text), 50); // the same text twice is said twice
}

export function Announcer() {
  return (
    <p class="unseen" role="status">
      {useStore(spoken)}
    </p>
  );
}
