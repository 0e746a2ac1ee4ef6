/** Revocation lists that hold for the whole mesh: Istio's mounted file, and what the mesh config names. */
import { ListsFile } from './lists-file.ts';
import type { SaidLists } from './lists-in-force.ts';

/** The mesh config's `caCrl`. */
export type MeshCrl = { readonly path: string } | { readonly pem: string } | null;

export interface MeshListsOptions {
  /** Takes what one source says: IdentitySource.useLists. */
  readonly use: (source: string, said: SaidLists) => void;
  /** Where Istio mounts its list of the plugged-in CA (istio/pkg/security: CACRLFilePath). */
  readonly istioPath?: string;
  readonly pollMs?: number;
}

const ISTIO_PATH = '/var/run/secrets/istio/crl/ca-crl.pem';
const ISTIO = 'istio';
const MESH = 'mesh';
const NAME = 'caCrl';

export class MeshLists {
  readonly #options: MeshListsOptions;
  readonly #istio: ListsFile;
  #file: ListsFile | null = null;
  #wanted = 'null';

  constructor(options: MeshListsOptions) {
    this.#options = options;
    const path = options.istioPath ?? ISTIO_PATH;
    this.#istio = this.#fileAt(path, ISTIO, false);
  }

  #fileAt(path: string, source: string, required: boolean): ListsFile {
    const { use, pollMs } = this.#options;
    return new ListsFile({
      path,
      required,
      onLists: said => use(source, said),
      ...(pollMs !== undefined && { pollMs }),
    });
  }

  /** Resolves when both were read once. */
  async start(crl: MeshCrl): Promise<void> {
    await Promise.all([this.#istio.start(), this.replace(crl)]);
  }

  /** What the mesh config names from now on; resolves when it was read. */
  replace(crl: MeshCrl): Promise<void> {
    const wanted = JSON.stringify(crl);
    if (wanted === this.#wanted) return Promise.resolve();
    this.#wanted = wanted;
    this.#file?.close();
    this.#file = null;
    if (crl !== null && 'path' in crl) {
      this.#file = this.#fileAt(crl.path, MESH, true);
      return this.#file.start();
    }
    this.#options.use(
      MESH,
      crl === null ? { file: NAME, none: 'dropped' } : { file: NAME, bytes: Buffer.from(crl.pem, 'latin1') },
    );
    return Promise.resolve();
  }

  close(): void {
    this.#istio.close();
    this.#file?.close();
  }
}
