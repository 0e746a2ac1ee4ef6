/**
 * Connections to an endpoint that asks for HBONE: each is a stream of HTTP/2 CONNECT to port 15008 of its address, over
 * mutual TLS of few connections (Istio: the label `networking.istio.io/tunnel: http` of an endpoint).
 */
import type { Clock, Duct, ResponseSink, UpstreamFailure } from '../http/exchange.ts';
import { ParseFault, parseRequest, type RequestHead, type ResponseHead } from '../http/h1-parser.ts';
import { H2Client, type H2ClientOwner } from '../http/h2-client.ts';
import { Outbox } from '../http/outbox.ts';
import { Inlet } from '../net/connect.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import type { OpenTls } from './cluster.ts';
import { PeerDuct } from './peer-duct.ts';
import type { Peer, PeerWatch, Vouched } from './revalidation.ts';
import type { UpstreamTls } from './route.ts';

/** Where ztunnel and its kind listen. */
export const HBONE_PORT = 15_008;
const OFFERED = ['h2'];

export interface HboneDialerOptions {
  /** The endpoint: its address, and the port that the tunnels lead to. */
  readonly address: string;
  readonly port: number;
  readonly security: UpstreamTls & { tls: true };
  readonly timeoutMs: number;
  /** Names of this workload, for whoever looks at the other end; '' = none. */
  readonly baggage: string;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly openTls: OpenTls;
  readonly peers: PeerWatch;
}

type Done = (why: string | null, duct: Duct | null) => void;

/** One connection to the HBONE port, and on whom it stands. */
interface Carrier extends Vouched {
  readonly client: H2Client;
  readonly peer: Peer;
}

export class HboneDialer implements H2ClientOwner {
  readonly #options: HboneDialerOptions;
  readonly #head: RequestHead;
  #carriers: Carrier[] = [];
  #connecting = false;
  #waiting: Done[] = [];

  constructor(options: HboneDialerOptions) {
    this.#options = options;
    this.#head = connectHead(options);
  }

  /** Opens a tunnel; its peer was judged before a byte of it was sent. */
  open(done: Done): void {
    const carrier = this.#carriers.find(({ client }) => client.room > 0);
    if (carrier !== undefined) this.#tunnel(carrier, done);
    else {
      this.#waiting.push(done);
      this.#connect();
    }
  }

  /** New tunnels are made with the identity in force now; those that are open go on. */
  renew(): void {
    for (const { client } of [...this.#carriers]) client.retire();
  }

  #connect(): void {
    if (this.#connecting) return;
    this.#connecting = true;
    const { address, security, timeoutMs, openTls } = this.#options;
    // A tunnel has no service of its own, and so no name that it asks for.
    openTls(
      {
        host: address,
        port: HBONE_PORT,
        security: { ...security, sni: '' },
        timeoutMs,
        inlet: new Inlet(),
        alpn: OFFERED,
      },
      (why, duct) => {
        this.#connecting = false;
        if (duct === null) this.#failAll(why ?? 'connection failed');
        else this.#connected(duct);
      },
    );
  }

  #connected(duct: PeerDuct): void {
    const { clock, recorder, peers } = this.#options;
    if (duct.protocol !== 'h2') {
      duct.socket.destroy();
      this.#failAll('the endpoint does not agree to HTTP/2');
      return;
    }
    const client = new H2Client(duct, this, {
      clock,
      scheme: 'https',
      memo: false,
      maxStreams: Number.POSITIVE_INFINITY,
      idleTimeoutMs: 0,
      keepAlive: null,
      report: reason => recorder.http2Ended('outbound', reason),
    });
    const carrier: Carrier = {
      direction: 'outbound',
      client,
      peer: duct.peer,
      retire: () => client.retire(),
      destroy: () => client.destroy(),
    };
    this.#carriers.push(carrier);
    peers.watch(duct.peer, carrier);
    this.onRoom();
  }

  #failAll(why: string): void {
    for (const done of this.#waiting.splice(0)) done(why, null);
  }

  onRoom(): void {
    while (this.#waiting.length > 0) {
      const carrier = this.#carriers.find(({ client }) => client.room > 0);
      if (carrier === undefined) {
        this.#connect();
        return;
      }
      this.#tunnel(carrier, this.#waiting.shift() as Done);
    }
  }

  onRetired(): void {
    if (this.#waiting.length > 0) this.onRoom();
  }

  onGone(client: H2Client): void {
    const at = this.#carriers.findIndex(carrier => carrier.client === client);
    const [carrier] = at < 0 ? [] : this.#carriers.splice(at, 1);
    if (carrier !== undefined) this.#options.peers.unwatch(carrier.peer, carrier);
  }

  #tunnel({ client, peer }: Carrier, done: Done): void {
    const stream = client.open();
    if (stream === null) {
      done('no room in the tunnel', null);
      return;
    }
    const sink = new Answer(peer, done, () => stream.abandon());
    const edits = { target: this.#head.target, added: '', drop: 0, remove: null };
    const request = { head: this.#head, edits, drop: 0 };
    stream.begin(sink, request, new Outbox(), true, false);
    stream.requestComplete('', this.#options.timeoutMs);
  }
}

/** What the endpoint says to one CONNECT. */
class Answer implements ResponseSink {
  readonly method = 'CONNECT';
  readonly responseOut = new Outbox();
  readonly #peer: Peer;
  readonly #done: Done;
  readonly #abandon: () => void;

  constructor(peer: Peer, done: Done, abandon: () => void) {
    this.#peer = peer;
    this.#done = done;
    this.#abandon = abandon;
  }

  onResponse({ status }: ResponseHead): 'bare' {
    if (status >= 200) {
      this.#abandon();
      this.#done(`the tunnel is refused with ${status}`, null);
    }
    return 'bare';
  }

  onSwitch(_head: ResponseHead, { socket }: Duct): void {
    this.#done(null, new PeerDuct(socket, null, this.#peer, null));
  }

  onUpstreamFailure(kind: UpstreamFailure, what: string): void {
    this.#done(`tunnel ${kind}: ${what}`, null);
  }

  flushResponse(): void {
    this.responseOut.clear();
  }

  onResponseEnd(): void {}
  onUpstreamDrain(): void {}
}

function connectHead({ address, port, baggage }: HboneDialerOptions): RequestHead {
  const authority = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  const named = baggage === '' ? '' : `baggage: ${baggage}\r\n`;
  const head = parseRequest(`CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n${named}\r\n`);
  if (head instanceof ParseFault) throw new Error(`no tunnel to ${authority}: ${head.what}`);
  return head;
}
