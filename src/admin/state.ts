/** What the admin, health and telemetry listeners show and do; the app gives the functions. */
export interface AdminState {
  /** `detail` is what `?verbose` adds, as JSON. */
  ready(): {
    readonly ok: boolean;
    readonly reason: string;
    readonly detail: Readonly<Record<string, unknown>>;
  };
  /** Prometheus text. */
  metrics(): Promise<string>;
  configDump(): unknown;
  certs(): unknown;
  connections(): Promise<unknown>;
  /** The body of `explain` (one JSON request a line); `lines` are its answers, each already one line of text. */
  explain(body: string): Explanation | Promise<Explanation>;
  drain(): void;
  /** Called once the answer is on its way. */
  quit(): void;
  /** null = done; otherwise why not, in one line. */
  setLogLevel(level: string): string | null;
}

export interface Explanation {
  readonly status: number;
  readonly lines: readonly string[];
}
