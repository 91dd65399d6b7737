import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import { App } from './app';
import './console.css';
import { watchRoute } from './route';

watchRoute();
render(<App />, document.body);
