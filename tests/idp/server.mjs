// An OpenID provider for the integration tests: a service client that gets access tokens for the resources named in
// RESOURCES (space-separated), and a public client for logins in a browser. It listens on a free port of 127.0.0.1,
// prints one JSON line with its issuer when it is ready, and ends when its standard input closes, so that a test run
// that dies leaves no process behind.
//
// Lifetimes in seconds: ACCESS_TTL, REFRESH_TTL, CODE_TTL.

import { generateKeyPairSync, randomBytes, webcrypto } from 'node:crypto';
import { createServer } from 'node:http';
import { errors, Provider } from 'oidc-provider';

// Debian 12 has node 18, which lacks the two globals of later versions that the provider needs.
globalThis.crypto ??= webcrypto;
URL.parse ??= (text, base) => (URL.canParse(text, base) ? new URL(text, base) : null);

const seconds = (name, fallback) => Number(process.env[name] ?? fallback);
const resources = new Set((process.env.RESOURCES ?? '').split(' ').filter(Boolean));

function signingKeys() {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  return [
    { ...rsa, use: 'sig', alg: 'RS256', kid: 'rsa-1' },
    { ...ec, use: 'sig', alg: 'ES256', kid: 'ec-1' },
  ];
}

const service = {
  client_id: 'service',
  client_secret: 'service-secret',
  token_endpoint_auth_method: 'client_secret_post',
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
};

const commandLine = {
  client_id: 'thv-cli',
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/callback'],
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

const account = (_context, name) => ({
  accountId: name,
  claims: () => ({ sub: name, email: `${name}@example.test`, email_verified: true }),
});

function configuration() {
  return {
    jwks: { keys: signingKeys() },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    clients: [service, commandLine],
    responseTypes: ['code'],
    clockTolerance: 0,
    findAccount: account,
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
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
      RefreshToken: seconds('REFRESH_TTL', 3600),
      DeviceCode: 120,
      IdToken: 300,
      Interaction: 600,
      Session: 3600,
      Grant: 3600,
    },
  };
}

// The issuer contains the port, so the port comes first.
const server = createServer();
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration());
  provider.on('server_error', (_context, cause) => console.error(cause));
  server.on('request', provider.callback());
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});

function stop() {
  server.closeAllConnections();
  server.close(() => process.exit(0));
}
process.on('SIGTERM', stop);
process.stdin.on('end', stop).resume();
