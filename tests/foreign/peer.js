// The DSSE layer of @sigstore/verify as the other side. In the folder of this file: `ours.json` with the key `ours.hex` is
// verified; `node-*.json` with `node-*.key` (PEM) are made.
'use strict';
const fs = require('fs');
const path = require('path');
const crypto = require('crypto');
const { dsse } = require('@sigstore/core');
const { DSSESignatureContent } = require('@sigstore/verify/dist/bundle/dsse');

const here = (name) => path.join(__dirname, name);
const content = (document) => new DSSESignatureContent({
  payloadType: document.payloadType,
  payload: Buffer.from(document.payload, 'base64'),
  signatures: document.signatures.map(({ keyid, sig }) => ({ keyid, sig: Buffer.from(sig, 'base64') })),
});
const check = (holds, what) => { if (!holds) { console.error(what); process.exit(1); } };

const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'),
  Buffer.from(fs.readFileSync(here('ours.hex'), 'utf8'), 'hex')]);
const key = crypto.createPublicKey({ key: spki, format: 'der', type: 'spki' });
for (const name of ['ours.json', 'summary.json']) {
  const document = JSON.parse(fs.readFileSync(here(name), 'utf8'));
  check(content(document).verifySignature(key), `${name} does not verify`);
  const changed = { ...document, payload: Buffer.from('{}').toString('base64') };
  check(!content(changed).verifySignature(key), `${name} verifies with another payload`);
}

const type = 'application/vnd.in-toto+json';
const body = Buffer.from('{"made by":"node"}');
for (const [name, kind, options] of [
  ['ed25519', 'ed25519', {}],
  ['p256-der', 'ec', { namedCurve: 'P-256' }],
  ['p384-der', 'ec', { namedCurve: 'P-384' }],
  ['rsa-pkcs1-sha256', 'rsa', { modulusLength: 3072 }],
]) {
  const pair = crypto.generateKeyPairSync(kind, options);
  const digest = { ed25519: null, 'p384-der': 'sha384' }[name];
  const sig = crypto.sign(digest === undefined ? 'sha256' : digest, dsse.preAuthEncoding(type, body), pair.privateKey);
  fs.writeFileSync(here(`node-${name}.json`), JSON.stringify({
    payloadType: type, payload: body.toString('base64'), signatures: [{ keyid: name, sig: sig.toString('base64') }],
  }));
  fs.writeFileSync(here(`node-${name}.key`), pair.publicKey.export({ type: 'spki', format: 'pem' }));
}
