import { Component, createElement, type ComponentType } from 'preact';

// memo draws a component again only if one of its properties changed. (preact/compat has one, with much else.)
export function memo<P extends object>(of: ComponentType<P>): ComponentType<P> {
  return class Memo extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      const before = this.props as Record<string, unknown>;
      const after = next as Record<string, unknown>;
      return Object.keys({ ...before, ...after }).some((name) => before[name] !== after[name]);
    }

    override render() {
      return createElement(of, this.props as P);
    }
  };
}
