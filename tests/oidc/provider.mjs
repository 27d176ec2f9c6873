// A real OIDC provider for tests: node provider.mjs PORT < JSON with its keys.
//
// It lets anybody sign in as whom they say they are. Below /test/ it is told what real ones are told
// by their administrators: other keys, or to be down.
import http from 'node:http';
import Provider from 'oidc-provider';

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const counts = {};
let down = false;
let handle;

const configuration = (jwks) => ({
  jwks: { keys: jwks },
  clients: [
    {
      client_id: 'authsvc',
      client_secret: 'the secret of a test',
      redirect_uris: ['http://127.0.0.1/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      id_token_signed_response_alg: jwks[0].alg,
    },
    {
      client_id: 'terminal',
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      redirect_uris: ['http://127.0.0.1/callback'],
      grant_types: ['authorization_code'],
      response_types: ['code'],
      id_token_signed_response_alg: jwks[0].alg,
    },
  ],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  scopes: ['openid', 'offline_access', 'email'],
  conformIdTokenClaims: false,
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  cookies: { keys: ['a secret of a test'] },
  findAccount: async (ctx, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, email: id, email_verified: !id.startsWith('unverified') }),
  }),
  // Whoever signs in consents.
  loadExistingGrant: async (ctx) => {
    const { client, session, provider, params } = ctx.oidc;
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope(params.scope);
    await grant.save();
    return grant;
  },
  ttl: { IdToken: 600, AccessToken: 600, Interaction: 600, Session: 600, Grant: 600 },
});

const roll = (jwks) => {
  const provider = new Provider(issuer, configuration(jwks));
  // RFC 8252 lets a loopback client come back to any port; web clients of this test may too.
  provider.Client.prototype.redirectUriAllowed = (uri) => new URL(uri).hostname === '127.0.0.1';
  handle = provider.callback();
};

const read = async (stream) => {
  let text = '';
  for await (const piece of stream) text += piece;
  return JSON.parse(text || 'null');
};

const server = http.createServer(async (request, response) => {
  const path = request.url.split('?')[0];
  if (path === '/test/keys') roll(await read(request));
  if (path === '/test/down') down = await read(request);
  if (path.startsWith('/test/')) {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(counts));
    return;
  }
  counts[path] = (counts[path] ?? 0) + 1;
  if (down) request.socket.destroy();
  else handle(request, response);
});

roll(await read(process.stdin));
server.listen(port, '127.0.0.1', () => console.log('ready'));
