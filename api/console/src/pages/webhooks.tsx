import { useTitle } from '../title';

// Webhooks are all of them, or one if an id is given.
export function Webhooks({ id }: { id: string }) {
  useTitle('Webhooks');
  return <h1>Webhooks {id}</h1>;
}
