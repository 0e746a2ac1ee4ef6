/** One client's or one app's bytes through the loop, all in memory: what came out on both sides. */
import type { RequestHead } from '../../src/http/h1-parser.ts';
import { isKnownMethod } from '../../src/policy/method.ts';
import { Loop } from './loop.ts';
import { MemorySocket } from './memory-socket.ts';
import { settled } from './settled.ts';
import { type Message, readRequests, readResponses, statusOf } from './strict-messages.ts';

export interface Passage {
  /** What the app got, a text a connection. */
  readonly upstream: readonly string[];
  /** What the client got. */
  readonly downstream: string;
  /** The client's connection was ended. */
  readonly closed: boolean;
  /** The requests that were taken, in order. */
  readonly heads: readonly RequestHead[];
  /** Reasons of messages that were refused before they became a request. */
  readonly refused: readonly string[];
}

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';

/** A client sends these pieces, one after the other; the app answers every whole request. */
export async function passRequests(pieces: readonly Buffer[]): Promise<Passage> {
  const apps: MemorySocket[] = [];
  const passage = new Running(app => {
    apps.push(app);
    let answered = 0;
    app.onWrite = () => {
      const whole = readRequests(app.text).messages.filter(message => message.complete).length;
      for (; answered < whole; answered++) setImmediate(() => app.feed(OK));
    };
  });
  await passage.feed(pieces);
  return passage.close();
}

/** A client sends `request`; the app answers with these pieces, and an end when `ended`. */
export async function passResponse(
  request: string,
  pieces: readonly Buffer[],
  ended: boolean,
): Promise<Passage> {
  const passage = new Running(app => {
    let spoke = false;
    app.onWrite = () => {
      if (spoke || !app.text.includes('\r\n\r\n')) return;
      spoke = true;
      setImmediate(() => {
        for (const piece of pieces) app.feed(piece);
        if (ended) app.finish();
      });
    };
  });
  await passage.feed([Buffer.from(request, 'latin1')]);
  return passage.close();
}

class Running {
  readonly #client = new MemorySocket();
  readonly #apps: MemorySocket[] = [];
  readonly #heads: RequestHead[] = [];
  readonly #loop: Loop;

  constructor(prepare: (app: MemorySocket) => void) {
    this.#loop = new Loop({
      open: done => {
        const app = new MemorySocket();
        this.#apps.push(app);
        prepare(app);
        done(null, { socket: app.socket, inlet: null });
      },
      onRequest: (request, send) => {
        const { exchange } = request;
        this.#heads.push(exchange.head);
        // As the inbound hub does.
        if (isKnownMethod(exchange.head.method)) send();
        else exchange.reply('bad_request', 'unknown method', '');
      },
    });
    this.#loop.accept(this.#client.socket);
  }

  async feed(pieces: readonly Buffer[]): Promise<void> {
    await settled(() => 0);
    for (const piece of pieces) this.#client.feed(piece);
    await settled(() => this.#progress());
  }

  #progress(): number {
    const written = this.#apps.reduce((sum, app) => sum + app.bytesWritten, this.#client.bytesWritten);
    return written + this.#loop.finished.length + this.#apps.length + Number(this.#client.ended);
  }

  close(): Passage {
    const passage = {
      upstream: this.#apps.map(app => app.text),
      downstream: this.#client.text,
      closed: this.#client.ended || this.#client.destroyed,
      heads: this.#heads,
      refused: this.#loop.refused.map(({ what }) => what),
    };
    this.#client.destroy();
    for (const app of this.#apps) app.destroy();
    return passage;
  }
}

/**
 * What must not depend on how the bytes were cut: the whole messages that were sent on, and the answers. A failure is
 * one of two things, a status or a visible break, by whether the answer had begun when it was found.
 */
export function essence(passage: Passage): {
  upstream: string[];
  downstream: string[];
  closed: boolean | null;
} {
  const whole = passage.upstream.flatMap(text =>
    readRequests(text).messages.filter(message => message.complete),
  );
  const methods = passage.heads.map(head => head.method);
  const answers = readResponses(passage.downstream, methods, passage.closed).messages;
  const broken = answers.some(isBroken);
  // An interim response may be gone with the connection that a fault ended in the same moment.
  const seen = broken ? answers.filter(answer => statusOf(answer) >= 200) : answers;
  return {
    upstream: whole.map(message => [message.head, message.body, ...message.trailers].join('\n')),
    downstream: seen.map(answer => {
      if (isBroken(answer)) return 'failed';
      return isOwnReply(answer) ? answer.line : [answer.head, answer.body, ...answer.trailers].join('\n');
    }),
    closed: broken ? null : passage.closed,
  };
}

function isBroken(answer: Message): boolean {
  if (isOwnReply(answer)) return statusOf(answer) >= 500;
  return !answer.complete || answer.faults.length > 0;
}

/** The answers that Outrider gives itself begin with a type and carry a date, or grpc-status. */
export function isOwnReply({ fields }: Message): boolean {
  return fields[0]?.[0] === 'content-type' && fields.some(([name]) => name === 'date');
}
