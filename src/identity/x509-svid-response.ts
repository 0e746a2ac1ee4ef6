/** The X509SVIDResponse of the SPIFFE Workload API (workloadapi.proto), read field by field. */
import type { Reader } from 'protobufjs';

/** X509SVID: what is not written is empty. */
export interface X509Svid {
  readonly spiffeId: string;
  /** DER certificates one after the other, the workload's own first. */
  readonly chain: Buffer;
  /** PKCS #8, DER. */
  readonly key: Buffer;
  /** DER certificates one after the other: the roots of the SVID's own trust domain. */
  readonly bundle: Buffer;
}

export interface X509SvidResponse {
  readonly svids: readonly X509Svid[];
  /** DER revocation lists. */
  readonly crls: readonly Buffer[];
  /** The roots of other trust domains, by the trust domain's SPIFFE ID. */
  readonly federated: ReadonlyMap<string, Buffer>;
}

const SVIDS = 1;
const CRL = 2;
const FEDERATED_BUNDLES = 3;
const LENGTH_DELIMITED = 2;
const NOTHING = Buffer.alloc(0);

/**
 * Reads one X509SVIDResponse; fields that are not known, or of another wire type, are passed over.
 *
 * @throws RangeError or Error of protobufjs when the bytes are none
 */
export function readX509SvidResponse(reader: Reader): X509SvidResponse {
  const svids: X509Svid[] = [];
  const crls: Buffer[] = [];
  const federated = new Map<string, Buffer>();
  eachField(reader, reader.len, field => {
    if (field === SVIDS) svids.push(readSvid(reader));
    else if (field === CRL) crls.push(readBytes(reader));
    else if (field === FEDERATED_BUNDLES) federated.set(...readEntry(reader));
    else return false;
    return true;
  });
  return { svids, crls, federated };
}

function readSvid(reader: Reader): X509Svid {
  const fields = readMessage(reader, 4);
  const [id = NOTHING, chain = NOTHING, key = NOTHING, bundle = NOTHING] = fields;
  return { spiffeId: id.toString('utf8'), chain, key, bundle };
}

function readEntry(reader: Reader): [name: string, value: Buffer] {
  const [name = NOTHING, value = NOTHING] = readMessage(reader, 2);
  return [name.toString('utf8'), value];
}

/** The bytes of fields 1 to `known` of a nested message; of one that is written twice the last holds. */
function readMessage(reader: Reader, known: number): Buffer[] {
  const length = reader.uint32();
  const end = reader.pos + length;
  if (end > reader.len) throw new RangeError('a message goes past the end');
  const fields: Buffer[] = [];
  eachField(reader, end, field => {
    if (field < 1 || field > known) return false;
    fields[field - 1] = readBytes(reader);
    return true;
  });
  return fields;
}

/** `read` reads a field of text, bytes or a message by its number; false = not known. */
function eachField(reader: Reader, end: number, read: (field: number) => boolean): void {
  while (reader.pos < end) {
    const tag = reader.uint32();
    if ((tag & 7) !== LENGTH_DELIMITED || !read(tag >>> 3)) reader.skipType(tag & 7);
  }
  if (reader.pos !== end) throw new RangeError('a field goes past the end of its message');
}

function readBytes(reader: Reader): Buffer {
  return Buffer.from(reader.bytes());
}
