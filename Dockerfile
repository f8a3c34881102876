# The gateway: `docker build -t millrace .`. deploy/README.md says how it is run; test/unit/image.test.ts holds this file to that.

# The release that the tests run on.
ARG NODE=node:26.10.0-slim

FROM ${NODE} AS build
WORKDIR /build
COPY package.json package-lock.json ./
# No package runs code of its own while it is installed.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY core core
COPY connectors connectors
COPY plugins plugins
# What the kinds mqtt and kubernetes, and traces, load and the package does not bring. Leave out what is not used: --build-arg PEERS=
ARG PEERS="@kubernetes/client-node@^2.0.1 @opentelemetry/api@^1.9.1 @opentelemetry/core@^2.12.1 @opentelemetry/otlp-exporter-base@^0.223.1 @opentelemetry/otlp-transformer@^0.223.1 @opentelemetry/resources@^2.12.1 mqtt@5.16.0"
# As production packages now, at the versions of the lockfile; all other tools of development go.
RUN npm run build && npm install --save-prod --omit=dev --ignore-scripts $PEERS

FROM ${NODE}
LABEL org.opencontainers.image.title="millrace" \
      org.opencontainers.image.description="An event-driven function host that speaks the OpenFaaS API." \
      org.opencontainers.image.licenses="Apache-2.0"
# So that glibc gives back what a start took: docs/operate.md, Memory.
ENV NODE_ENV=production MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=131072
WORKDIR /app
COPY LICENSE ./
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
# For queues and stores of kind sqlite. Nothing else is written, but for what the provider process has in /tmp.
RUN install -d -o 10001 -g 10001 /var/lib/millrace
VOLUME /var/lib/millrace
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
EXPOSE 8080 8082
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8082/healthz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# Signals reach the gateway itself, which drains on SIGTERM. It reaps its own children only: give it an init
# (`docker run --init`) where functions are processes.
ENTRYPOINT ["node", "/app/dist/core/main.js"]
CMD ["serve", "--config", "/etc/millrace/millrace.yaml"]
