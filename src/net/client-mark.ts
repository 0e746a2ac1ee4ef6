/**
 * Istio's mark and routing table of TPROXY: what the sidecar sends the app from a client's address has the mark (SO_MARK),
 * and what the app answers comes back to this host by the table. So the app sees the client's address.
 */
export const CLIENT_MARK = 1337;
export const CLIENT_TABLE = 133;
