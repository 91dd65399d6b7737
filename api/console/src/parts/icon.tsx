const drawn = {
  copy: 'M5 5V2.5h8.5V11H11M2.5 5H11v8.5H2.5z',
  done: 'M2.5 8.5l3.5 3.5 7.5-8',
  close: 'M3 3l10 10M13 3L3 13',
};

// Icon is drawn, since not every computer has a font with the character. What it is for has to be said beside it.
export function Icon({ of }: { of: keyof typeof drawn }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
      <path d={drawn[of]} fill="none" stroke="currentColor" stroke-width="1.5" />
    </svg>
  );
}
