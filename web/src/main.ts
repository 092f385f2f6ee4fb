import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';
import { i18n } from './i18n/index.svelte';
import { theme } from './lib/theme.svelte';

theme.start();
await i18n.start();
const target = document.getElementById('app');
if (target) mount(App, { target });
