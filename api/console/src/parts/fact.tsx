import type { ComponentChildren } from 'preact';

// Fact is one of a <dl class="facts">.
export function Fact({ name, large = false, children }: { name: ComponentChildren; large?: boolean; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd class={large ? 'large' : ''}>{children}</dd>
    </div>
  );
}
