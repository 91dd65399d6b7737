import { useTitle } from '../title';

export function System() {
  useTitle('System');
  return <h1>System</h1>;
}
