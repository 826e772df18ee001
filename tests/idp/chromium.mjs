// A person with a browser: opens the authorization URL given as the argument, signs in and agrees through the provider's
// forms, waits for the page behind the callback, and prints one JSON object about where that ended.
//
// Chromium is Debian's, or the one named by CHROMIUM. It may not resolve any name but localhost, and those under the
// domain DOMAIN, which all are this machine. It trusts the authority whose key has the hash TRUSTED.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [start] = process.argv.slice(2);
const { DOMAIN, TRUSTED } = process.env;
const patience = { timeout: 90_000 };
const profile = await mkdtemp(join(tmpdir(), 'thv-chromium-'));
const browser = await chromium.launchPersistentContext(profile, {
  ...patience,
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    `--host-resolver-rules=${DOMAIN ? `MAP *.${DOMAIN} 127.0.0.1, ` : ''}MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost`,
    ...(TRUSTED ? [`--ignore-certificate-errors-spki-list=${TRUSTED}`] : []),
  ],
});

// A test that dies takes the browser with it. (Its pipe closes.)
process.stdin.on('end', () => process.exit(1)).resume();

try {
  const page = browser.pages()[0] ?? (await browser.newPage());
  const requests = [];
  page.on('request', (request) => requests.push(request.url()));
  const issuer = new URL(start).origin;
  await page.goto(start, { ...patience, waitUntil: 'domcontentloaded' });
  // Login, then consent; a provider that remembers the person asks for less.
  for (let step = 0; step < 4 && new URL(page.url()).origin === issuer; step += 1) {
    const login = page.locator('input[name=login]');
    if (await login.count()) {
      await login.fill('alice');
      await page.locator('input[name=password]').fill('secret-password');
    }
    const before = page.url();
    await page.locator('button[type=submit]').first().click(patience);
    await page.waitForURL((url) => url.href !== before, { ...patience, waitUntil: 'domcontentloaded' });
  }
  if (new URL(page.url()).origin === issuer) throw new Error(`still at the provider: ${page.url()}`);
  await page.waitForLoadState('domcontentloaded', patience);
  const landing = {
    url: page.url(),
    title: await page.title(),
    text: (await page.locator('body').innerText()).trim(),
    requests,
  };
  process.stdout.write(`${JSON.stringify(landing)}\n`);
} finally {
  await browser.close();
  await rm(profile, { recursive: true, force: true });
}
process.exit(0);
