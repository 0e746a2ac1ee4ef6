# The sidecar's image: Node, the libraries it is linked with, the bundle. No shell, no package manager, no npm.
# scripts/image-root.ts lays out the files; test/package/image.test.ts runs them as uid 1337 without an engine.

FROM node:26.10.0-trixie-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json LICENSE ./
COPY bin bin
COPY config/inject config/inject
COPY scripts scripts
COPY src src
# The time of every file in the image: `--build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)`.
ARG SOURCE_DATE_EPOCH=0
# The Node that package-lock.json pins builds the bundle and goes into the image: the one that the tests ran on.
RUN node_modules/.bin/node scripts/build.ts && node_modules/.bin/node scripts/image-root.ts /image

FROM scratch
COPY --from=build /image /
LABEL org.opencontainers.image.title="Outrider" org.opencontainers.image.licenses="Apache-2.0"
# A number, so that Kubernetes' runAsNonRoot can tell; Istio's proxy has the same one.
USER 1337:1337
# Needs no writable file system: nothing is written but standard output and standard error.
WORKDIR /
# 15001 outbound and 15000 admin listen on 127.0.0.1 unless told otherwise: reached inside the pod only.
EXPOSE 15000 15001 15006 15020 15021
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
  CMD ["/usr/local/bin/node", "/opt/outrider/bin/outrider.js", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/node", "/opt/outrider/bin/outrider.js"]
CMD ["run"]
