// Metadata are the keys and values that a client has put there. They are text, whatever they look like.
export function Metadata({ of }: { of: Record<string, string> | undefined }) {
  const entries = Object.entries(of ?? {});
  if (entries.length === 0) return null;
  return (
    <details class="metadata">
      <summary>Metadata</summary>
      <dl class="facts">
        {entries.map(([key, value]) => (
          <div key={key}>
            <dt>{key}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}
