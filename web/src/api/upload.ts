// Uploads. They have a request of their own, because `fetch` cannot tell how far one has come.
import { problemOf } from './client';
import { Unreachable } from './problem';
import type { Attachment } from './types';

/** Hands a file to the gateway for a reply in this room; `onprogress` hears 0–1. Rejects with a [`Problem`] or [`Unreachable`]. */
export function upload(roomId: string, file: File, onprogress: (share: number) => void, signal: AbortSignal): Promise<Attachment> {
  return new Promise((done, refuse) => {
    const request = new XMLHttpRequest();
    request.open('POST', `/api/v1/rooms/${encodeURIComponent(roomId)}/attachments`);
    request.responseType = 'json';
    request.upload.onprogress = (event) => event.lengthComputable && onprogress(event.loaded / event.total);
    request.onload = () => {
      if (request.status === 201) return done(request.response as Attachment);
      refuse(problemOf(request.status, request.response, request.getResponseHeader('retry-after')));
    };
    request.onerror = request.onabort = request.ontimeout = () => refuse(new Unreachable());
    signal.addEventListener('abort', () => request.abort());
    const form = new FormData();
    // Pasted pictures all have the same name, or none.
    form.append('file', file, file.name || 'file');
    request.send(form);
  });
}
