/** argv → command. The only place that ends the process; each command is read from disk when it is asked for. */

import { versionLine } from './cli/version.ts';

process.stdout.write(`${versionLine()}\n`);
