// Node's own servers. Each writes a line of JSON for every request its application is given, and for every message it cannot read.

import { createHash } from 'node:crypto';
import { appendFileSync, readFileSync } from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';

const [kind, address, port, identity, log] = process.argv.slice(2);
const note = line => appendFileSync(log, JSON.stringify(line) + '\n');

async function seen(request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  const raw = request.rawHeaders, headers = [];
  for (let at = 0; at < raw.length; at += 2) if (!raw[at].startsWith(':')) headers.push([raw[at], raw[at + 1]]);
  const sha256 = createHash('sha256').update(body).digest('hex');
  const host = request.headers[':authority'] ?? request.headers.host;
  note({ method: request.method, target: request.url, host, length: body.length, sha256, headers });
  response.writeHead(203, { 'content-length': 4 });
  response.end(request.method === 'HEAD' ? undefined : 'seen');
}

const answer = (request, response) => seen(request, response).catch(() => {});
const tls = { cert: readFileSync(identity), key: readFileSync(identity) };
const server = kind === 'h2'
  ? http2.createSecureServer({ ...tls, allowHTTP1: false }, answer)
  : https.createServer({ ...tls, ALPNProtocols: ['http/1.1'], keepAliveTimeout: 60000 }, answer);
// Neither is an answer: both would keep the request from the application.
server.on('checkContinue', answer).on('checkExpectation', answer);
server.on('clientError', (error, socket) => {
  if (error.code !== 'ECONNRESET') note({ unreadable: `${error.message}: ${error.rawPacket?.toString('latin1').slice(0, 300)}` });
  socket.destroy();
});
server.listen(Number(port), address);
