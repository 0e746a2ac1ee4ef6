/** The demo's manifests: Istio's own YAML, written to a folder that a person may edit while the demo runs. */

export const ORDERS_HOST = 'orders.shop.svc.cluster.local';
export const PAYMENTS_HOST = 'payments.shop.svc.cluster.local';

/** Policy of the whole mesh by file name; every sidecar reads all of it and applies what selects its workload. */
export function policyFiles(ordersPort: number): Readonly<Record<string, string>> {
  return {
    'mesh.yaml': `trustDomain: cluster.local
accessLogFile: /dev/stdout
accessLogEncoding: JSON
`,
    'strict.yaml': `# Mutual TLS, or the connection is closed.
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: strict
  namespace: shop
spec:
  mtls:
    mode: STRICT
`,
    'orders-callers.yaml': ordersCallers('GET'),
    'orders-no-admin.yaml': `# Nobody, not even the frontend. A DENY is asked before every ALLOW.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: orders-no-admin
  namespace: shop
spec:
  selector:
    matchLabels:
      app: orders
  action: DENY
  rules:
    - to:
        - operation:
            ports: ["${ordersPort}"]
            paths: [/admin, /admin/*]
`,
  };
}

/** Who may call orders; the demo writes it a second time with one method more. */
export function ordersCallers(methods: string): string {
  return `# Who may call orders, and for what. What no rule allows is denied.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: orders-callers
  namespace: shop
spec:
  selector:
    matchLabels:
      app: orders
  action: ALLOW
  rules:
    - from:
        - source:
            principals: [cluster.local/ns/shop/sa/frontend]
      to:
        - operation:
            methods: [${methods}]
            paths: [/orders/*]
`;
}

/** Where clients find services: orders, and payments, whose address has been taken over by orders. */
export function serviceFiles(ordersInbound: number): Readonly<Record<string, string>> {
  return {
    'orders.yaml': service({ name: 'orders', host: ORDERS_HOST, account: 'orders', port: ordersInbound }),
    'payments.yaml': `# The address is wrong on purpose: orders answers there. Its certificate gives it away.
${service({ name: 'payments', host: PAYMENTS_HOST, account: 'payments', port: ordersInbound })}`,
  };
}

function service(of: { name: string; host: string; account: string; port: number }): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: ${of.name}
  namespace: shop
spec:
  hosts: [${of.host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
    - name: http
      number: 80
      protocol: HTTP
  endpoints:
    - address: 127.0.0.1
      ports:
        http: ${of.port}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: ${of.name}
  namespace: shop
spec:
  host: ${of.host}
  trafficPolicy:
    tls:
      mode: ISTIO_MUTUAL
      subjectAltNames: [spiffe://cluster.local/ns/shop/sa/${of.account}]
`;
}
