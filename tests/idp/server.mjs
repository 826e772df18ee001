// An OpenID provider for the integration tests: a service client that gets access tokens for the resources named in
// RESOURCES (space-separated), and a public client for logins in a browser. It listens on a free port of 127.0.0.1,
// prints one JSON line with its issuer when it is ready and one for each event after that, takes orders as lines on its
// standard input, and ends when that closes, so that a test run that dies leaves no process behind.
//
// With ROBOT_KEY_FILE there is a second service client, which proves itself with the key that is written there.
// With WORKLOAD_KEYS, a JWKS, the client `workload` may exchange a token of the issuer https://kubernetes.test that is for this provider
// (RFC 8693), or use it as a grant (RFC 7523): the package has the endpoint and the rules for clients, and lets a host add such grants.
// Lifetimes in seconds: ACCESS_TTL, REFRESH_TTL, CODE_TTL. TOKEN_ALG is RS256 or ES256.
// PAGES: auto (everybody signs in as ACCOUNT, alice at first, and agrees), deny, or forms (a person fills them in).
// ISSUER is what it calls itself behind a reverse proxy, which has to pass the host on and name the scheme in
// x-forwarded-proto. REDIRECT_URIS are further ones of the public client, space-separated.
// With CLIENT_DOCUMENT, a client-id metadata document, clients may be known by such: the document is what is found at its client_id, an
// https URL. Nothing else is fetched.
// DPOP is on (tokens are bound to the key of a proof that comes along) or nonce (and proofs need a nonce).
// Orders: rotate-keys, revoke-all, pages auto, pages deny, pages forms.

import { generateKeyPairSync, randomBytes, webcrypto } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { errors, Provider } from 'oidc-provider';
import { Store } from './store.mjs';

// Debian 12 has node 18, which lacks the two globals of later versions that the provider needs.
globalThis.crypto ??= webcrypto;
URL.parse ??= (text, base) => (URL.canParse(text, base) ? new URL(text, base) : null);

const seconds = (name, fallback) => Number(process.env[name] ?? fallback);
const words = (name) => (process.env[name] ?? '').split(' ').filter(Boolean);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
let pages = process.env.PAGES ?? 'auto';
let keyNumber = 0;
const resources = new Set(words('RESOURCES'));

function signingKeys() {
  keyNumber += 1;
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  return [
    { ...rsa, use: 'sig', alg: 'RS256', kid: `rsa-${keyNumber}` },
    { ...ec, use: 'sig', alg: 'ES256', kid: `ec-${keyNumber}` },
  ];
}

const cookieKey = randomBytes(32).toString('base64url');

const service = {
  client_id: 'service',
  client_secret: 'service-secret',
  token_endpoint_auth_method: 'client_secret_post',
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
};

// A service client that proves itself with a key, whose private half it finds in the file ROBOT_KEY_FILE.
function robot() {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  writeFileSync(process.env.ROBOT_KEY_FILE, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return {
    client_id: 'robot',
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'RS256',
    jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'robot-1' }] },
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
  };
}

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';

const workload = {
  client_id: 'workload',
  token_endpoint_auth_method: 'none',
  grant_types: [EXCHANGE, BEARER],
  response_types: [],
  redirect_uris: [],
};

function takeWorkloads(provider, issuer) {
  const keys = createLocalJWKSet(JSON.parse(process.env.WORKLOAD_KEYS));
  const answer = async (context, assertion) => {
    const { client, params } = context.oidc;
    const { payload } = await jwtVerify(assertion, keys, { issuer: 'https://kubernetes.test', audience: issuer }).catch((cause) => {
      throw new errors.InvalidGrant(cause.message);
    });
    const token = new provider.ClientCredentials({ client, scope: params.scope });
    token.resourceServer = new provider.ResourceServer(params.resource, resourceServer(context, params.resource));
    token.extra = { workload: payload.sub };
    const { scope, expiration } = token;
    return { access_token: await token.save(), token_type: 'Bearer', expires_in: expiration, scope };
  };
  provider.registerGrantType(EXCHANGE, async (context) => {
    const { subject_token: subject, subject_token_type: type } = context.oidc.params;
    if (type !== JWT) throw new errors.InvalidRequest('subject_token_type');
    const body = await answer(context, subject);
    context.body = { ...body, issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' };
  }, ['scope', 'resource', 'subject_token', 'subject_token_type', 'requested_token_type']);
  provider.registerGrantType(BEARER, async (context) => {
    context.body = await answer(context, context.oidc.params.assertion);
  }, ['scope', 'resource', 'assertion']);
}

const commandLine = {
  client_id: 'thv-cli',
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  response_types: ['code'],
  // Any port matches, because the client is native.
  redirect_uris: [
    'http://localhost/callback',
    'http://127.0.0.1/callback',
    'http://localhost/thv/oauth/callback',
    ...words('REDIRECT_URIS'),
  ],
};

function resourceServer(_context, resource) {
  if (!resources.has(resource)) throw new errors.InvalidTarget(`no such resource: ${resource}`);
  return {
    audience: resource,
    scope: 'registry:read registry:write',
    accessTokenFormat: 'jwt',
    accessTokenTTL: seconds('ACCESS_TTL', 300),
    jwt: { sign: { alg: process.env.TOKEN_ALG ?? 'RS256' } },
  };
}

// What the provider finds where it fetches a client-id metadata document.
async function fetchDocument(url) {
  const document = process.env.CLIENT_DOCUMENT;
  const found = document && JSON.parse(document).client_id === String(url);
  say({ event: 'fetched', url: String(url), found: Boolean(found) });
  return found
    ? new Response(document, { headers: { 'content-type': 'application/json' } })
    : new Response('', { status: 404 });
}

const account = (_context, name) => ({
  accountId: name,
  claims: () => ({ sub: name, email: `${name}@example.test`, email_verified: true }),
});

function configuration() {
  return {
    adapter: Store,
    jwks: { keys: signingKeys() },
    cookies: { keys: [cookieKey] },
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    clients: [
      service,
      commandLine,
      ...(process.env.ROBOT_KEY_FILE ? [robot()] : []),
      ...(process.env.WORKLOAD_KEYS ? [workload] : []),
    ],
    fetch: fetchDocument,
    responseTypes: ['code'],
    clockTolerance: 0,
    findAccount: account,
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      dPoP: {
        enabled: Boolean(process.env.DPOP),
        nonceSecret: randomBytes(32),
        requireNonce: () => process.env.DPOP === 'nonce',
      },
      deviceFlow: { enabled: true },
      ...(process.env.CLIENT_DOCUMENT ? { clientIdMetadataDocument: { enabled: true, ack: 'draft-02' } } : {}),
      revocation: { enabled: true },
      introspection: { enabled: true, allowedPolicy: async () => true },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: resourceServer,
        // One resource asked for is one resource granted; none asked for gives an opaque token.
        defaultResource: async (_context, _client, asked) => (Array.isArray(asked) ? asked[0] : asked),
        useGrantedResource: async () => true,
      },
    },
    issueRefreshToken: async (_context, client, code) =>
      client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
    rotateRefreshToken: true,
    ttl: {
      AccessToken: seconds('ACCESS_TTL', 300),
      ClientCredentials: seconds('ACCESS_TTL', 300),
      AuthorizationCode: seconds('CODE_TTL', 60),
      DeviceCode: 600,
      RefreshToken: seconds('REFRESH_TTL', 3600),
      IdToken: 300,
      Interaction: 600,
      Session: 3600,
      Grant: 3600,
    },
  };
}

// What the client asked for, all of it granted.
async function consent(provider, { prompt, params, session, grantId }) {
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingOIDCClaims, missingResourceScopes } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
  if (missingOIDCClaims) grant.addOIDCClaims(missingOIDCClaims);
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  return { consent: { grantId: await grant.save() } };
}

const form = (title, prompt, fields) => `<!doctype html><html lang="en"><title>${title}</title><h1>${title}</h1>
<form method="post" action=""><input type="hidden" name="prompt" value="${prompt}">${fields}
<button type="submit">Continue</button></form>`;
const forms = {
  login: form('Sign in', 'login', '<input name="login"><input name="password" type="password">'),
  consent: form('Allow access', 'consent', ''),
};

async function body(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return new URLSearchParams(text);
}

// The pages between the authorization request and the callback.
async function interaction(provider, request, response) {
  const details = await provider.interactionDetails(request, response);
  const { name } = details.prompt;
  let account = process.env.ACCOUNT ?? 'alice';
  if (pages === 'deny') {
    const refusal = { error: 'access_denied', error_description: 'the person said no' };
    return provider.interactionFinished(request, response, refusal, { mergeWithLastSubmission: false });
  }
  if (pages === 'forms') {
    if (request.method !== 'POST') {
      response.setHeader('content-type', 'text/html; charset=utf-8');
      return response.end(forms[name].replace('action=""', `action="${request.url}"`));
    }
    account = (await body(request)).get('login') ?? account;
  }
  const outcome = name === 'login' ? { login: { accountId: account } } : await consent(provider, details);
  return provider.interactionFinished(request, response, outcome, { mergeWithLastSubmission: name !== 'login' });
}

function build(issuer) {
  const provider = new Provider(issuer, configuration());
  if (process.env.WORKLOAD_KEYS) takeWorkloads(provider, issuer);
  provider.proxy = process.env.ISSUER !== undefined;
  const callback = provider.callback();
  provider.on('server_error', (_context, cause) => console.error(cause));
  provider.on('grant.success', (context) => say({ event: 'token', grant: context.oidc.params.grant_type }));
  for (const name of ['grant.error', 'authorization.error', 'revocation.error']) {
    provider.on(name, (_context, cause) =>
      say({ event: 'refused', at: name.split('.')[0], error: cause.error, detail: cause.error_detail ?? null }));
  }
  provider.on('grant.revoked', () => say({ event: 'revoked' }));
  return (request, response) => {
    say({ event: 'request', method: request.method, path: request.url.split('?')[0] });
    if (!request.url.startsWith('/interaction/')) return callback(request, response);
    return interaction(provider, request, response).catch((cause) => {
      console.error(cause);
      response.statusCode = 500;
      response.end('the interaction failed');
    });
  };
}

// The issuer contains the port, so the port comes first.
const server = createServer();
let handler;
server.on('request', (request, response) => handler(request, response));
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  const address = `http://127.0.0.1:${server.address().port}`;
  const issuer = process.env.ISSUER ?? address;
  handler = build(issuer);
  say({ issuer, address });
  createInterface({ input: process.stdin }).on('line', (order) => {
    if (order === 'rotate-keys') handler = build(issuer);
    else if (order === 'revoke-all') Store.forgetGrants();
    else if (order.startsWith('pages ')) pages = order.slice('pages '.length);
    else return;
    say({ event: 'done', order });
  }).on('close', stop);
});

function stop() {
  server.closeAllConnections();
  server.close(() => process.exit(0));
}
process.on('SIGTERM', stop);
