const tones: Record<string, string> = {
  ACTIVE: 'good', PROCESSED: 'good', COMPLETED: 'good', OPEN: 'good',
  PENDING: 'wait', FAILING: 'wait', RETURNED: 'wait', FROZEN: 'wait',
  FAILED: 'bad', DISABLED: 'bad', CLOSED: 'off', EXPIRED: 'off',
};

// Badge is a state or a status. More may be added to the API: one that is not known here is plain.
export function Badge({ is }: { is: string }) {
  return <span class={`badge ${tones[is] ?? 'off'}`}>{is}</span>;
}
