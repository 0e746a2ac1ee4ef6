/** Clients that keep asking through the frontend's sidecar, and how many of their requests failed. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Asked } from './demo-ask.ts';
import type { Scene } from './demo-scene.ts';

const PAUSE_MS = 5; // between two requests of one client: a demo, not a benchmark

export class DemoLoad {
  #scene: Scene;
  #asked: Asked;
  #stopped = false;
  #sent = 0;
  #failed = 0;
  /** Hashes of the certificates that the app saw. */
  #callers = new Set<string>();
  #clients: Promise<void>[];

  /** Starts to ask, `clients` at a time. */
  constructor(scene: Scene, asked: Asked, clients: number) {
    this.#scene = scene;
    this.#asked = asked;
    this.#clients = Array.from({ length: clients }, () => this.#keepAsking());
  }

  async stop(): Promise<{ sent: number; failed: number; callers: ReadonlySet<string> }> {
    this.#stopped = true;
    await Promise.all(this.#clients);
    return { sent: this.#sent, failed: this.#failed, callers: this.#callers };
  }

  async #keepAsking(): Promise<void> {
    const { client, mesh } = this.#scene;
    while (!this.#stopped) {
      this.#sent++;
      const answer = await client.through(mesh.frontend, this.#asked).catch(() => null);
      if (answer?.status !== 200) this.#failed++;
      const hash = /Hash=([0-9a-f]+)/.exec(answer?.body ?? '')?.[1];
      if (hash !== undefined) this.#callers.add(hash);
      await delay(PAUSE_MS);
    }
  }
}
