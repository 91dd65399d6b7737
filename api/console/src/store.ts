import { useEffect, useState } from 'preact/hooks';

// Store is a value that several components show.
export class Store<T> {
  private readers = new Set<(value: T) => void>();

  constructor(private value: T) {}

  get(): T {
    return this.value;
  }

  set(value: T): void {
    this.value = value;
    for (const read of this.readers) read(value);
  }

  subscribe(read: (value: T) => void): () => void {
    this.readers.add(read);
    return () => this.readers.delete(read);
  }
}

export function useStore<T>(store: Store<T>): T {
  const [value, setValue] = useState(() => store.get());
  useEffect(() => {
    setValue(() => store.get()); // it may have changed since the first rendering
    return store.subscribe((next) => setValue(() => next));
  }, [store]);
  return value;
}
