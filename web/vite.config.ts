/// <reference types="vitest/config" />
import { gzipSync } from 'node:zlib';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';

/** Puts a compressed twin beside each file, so that the gateway has nothing to compress. */
const gzip: Plugin = {
  name: 'gzip',
  apply: 'build',
  generateBundle: {
    order: 'post',
    handler(_, bundle) {
      for (const file of Object.values(bundle)) {
        const bytes = file.type === 'chunk' ? file.code : file.source;
        this.emitFile({ type: 'asset', fileName: `${file.fileName}.gz`, source: gzipSync(bytes, { level: 9 }) });
      }
    },
  },
};

// The gateway serves the desk below /desk and everything in assets/ with a long cache life: names there carry a hash.
export default defineConfig({
  base: '/desk/',
  plugins: [svelte(), gzip],
  build: {
    target: 'es2022',
    // Nothing is inlined: the content security policy allows only files of our own.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { '/api': process.env.CHATGATE_URL ?? 'http://127.0.0.1:8080' } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
