/** Which Outrider this is, and on what it runs. */

import manifest from '../../package.json' with { type: 'json' };

export const VERSION: string = manifest.version;

/** The line of `outrider --version`: `outrider X.Y.Z (node vA.B.C, OpenSSL D.E.F)`. */
export function versionLine(): string {
  return `outrider ${VERSION} (node ${process.version}, OpenSSL ${process.versions.openssl})`;
}

/** Whether a Node of this version (`vA.B.C`) can run Outrider: package.json's engines, `^24.21.0 || >=26.9.0`. */
export function nodeIsSupported(version: string): boolean {
  const [major = 0, minor = 0] = version.slice(1).split('.').map(Number);
  return (major === 24 && minor >= 21) || (major === 26 && minor >= 9) || major > 26;
}
