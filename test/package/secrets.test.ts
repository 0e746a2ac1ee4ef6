import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from './built.ts';

// A certificate's and a key's first line, put together here so that this file does not hold one itself.
const PEM = new RegExp(
  `-----BEGIN (?:[A-Z0-9 ]*PRIVATE KEY|CERTIFICATE|X509 CRL)${'-'.repeat(5)}\\s+[A-Za-z0-9+/=]{40}`,
);
const NAMES = /\.(?:pem|key|crt|cer|der|p12|pfx|jks)$|(?:^|\/)\.env(?:\.|$)|(?:^|\/)\.npmrc$/;

t.test(
  'no key, certificate or credential is committed',
  { skip: !existsSync(join(ROOT, '.git')) },
  async t => {
    const files = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' })
      .split('\0')
      .filter(Boolean);
    t.ok(files.includes('package.json'), 'the committed files are listed');
    t.same(
      files.filter(file => NAMES.test(file)),
      [],
      'none by its name',
    );
    const present = files.filter(file => existsSync(join(ROOT, file)));
    t.same(
      present.filter(file => PEM.test(readFileSync(join(ROOT, file), 'latin1'))),
      [],
      'none by what is in it',
    );
  },
);

t.test('a key would be found', async t => {
  t.match(`${'-'.repeat(5)}BEGIN PRIVATE KEY${'-'.repeat(5)}\n${'M'.repeat(64)}\n`, PEM);
  t.match('certs/key.pem', NAMES);
  t.notMatch('src/identity/svid.ts', NAMES);
});
