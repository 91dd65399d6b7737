import { useTitle } from '../title';

export function OperationPage({ id }: { id: string }) {
  useTitle('Operation');
  return <h1>Operation {id}</h1>;
}
