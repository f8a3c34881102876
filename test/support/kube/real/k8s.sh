#!/usr/bin/env bash
# A small real Kubernetes control plane on 127.0.0.1: etcd + kube-apiserver + kube-controller-manager +
# kube-scheduler + kwok (fake node, fake pods: nothing runs in them, but they become Ready). TLS, client
# certificates, service account tokens and RBAC are the real ones.
#
#   k8s.sh build    go build of kubelab (README.md has the minutes); nothing to do when it is there
#   k8s.sh start    build if needed, start all parts, wait until /readyz and the node are good, print the kubeconfig
#   k8s.sh stop     stop all parts (state stays);  k8s.sh wipe: stop and remove the state
#   k8s.sh stop-api, start-api   the API server alone, as when it is away for a while
#   k8s.sh status   pids and memory
#   k8s.sh token NAMESPACE SERVICEACCOUNT   a token for that service account (TokenRequest API)
#
#   K8S_PORT   16443  the API server; etcd takes K8S_PORT+1 and +2
#   K8S_DIR    ${TMPDIR:-/tmp}/millrace-kube-PORT   state, certificates, logs, pids, kubeconfig
#   K8S_BIN    ${XDG_CACHE_HOME:-$HOME/.cache}/peers/kubelab-VERSION   the built binary
#   K8S_PARTS  "controllers scheduler kwok"   leave out what a test does not need ("" = only etcd and the API server)
#   K8S_NODES  1      fake nodes
#   K8S_CIDR   10.1.0.0/16   addresses of pods; two clusters whose pods are stood in for need one each
#   K8S_STAGES        a file with more kwok Stage documents
#   ETCD              another etcd program; the default is kubelab's own 3.6.8 (Debian's 3.4.23 is too old, see README.md)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(awk '$1 == "k8s.io/kubernetes" {print $2}' "$here/go.mod")
port=${K8S_PORT:-16443}
dir=${K8S_DIR:-${TMPDIR:-/tmp}/millrace-kube-$port}
bin=${K8S_BIN:-${XDG_CACHE_HOME:-$HOME/.cache}/peers/kubelab-$version}
parts=${K8S_PARTS-controllers scheduler kwok}
nodes=${K8S_NODES:-1}
cidr=${K8S_CIDR:-10.1.0.0/16}
etcd=${ETCD:-}
url=https://127.0.0.1:$port
pki=$dir/pki

die() { echo "k8s.sh: $*" >&2; exit 1; }
api() { curl -sS --fail-with-body --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "$@"; }

build() {
  [ -x "$bin" ] && return
  command -v go >/dev/null || die "go not found, and no $bin"
  mkdir -p "$(dirname "$bin")"
  local minor=${version#v1.} v=k8s.io/component-base/version
  minor=${minor%%.*}
  local x="-X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=$minor -X $v.gitCommit=unknown -X $v.gitTreeState=clean -X $v.buildDate=1970-01-01T00:00:00Z"
  (cd "$here" && CGO_ENABLED=0 go build -p 2 -trimpath -buildvcs=false -ldflags "-s -w $x" -o "$bin.$$" . && mv "$bin.$$" "$bin")
}

# The pid of one of our parts, if it lives: a reused pid does not count (every part has $dir in its arguments).
live() {
  local pid
  [ -s "$dir/$1.pid" ] || return 1
  pid=$(cat "$dir/$1.pid")
  [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF "$dir/" || return 1
  echo "$pid"
}

spawn() { # name command...
  local name=$1
  shift
  nohup "$@" >>"$dir/$name.log" 2>&1 </dev/null &
  echo $! >"$dir/$name.pid"
}

until_ok() { # seconds what command...
  local end=$((SECONDS + $1)) what=$2 p
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || die "$what: not ready, see the logs in $dir"
    for p in "$dir"/*.pid; do
      kill -0 "$(cat "$p")" 2>/dev/null || { tail -n 3 "${p%.pid}.log" >&2 || true; die "$(basename "$p" .pid) died, see ${p%.pid}.log"; }
    done
    sleep 0.1
  done
}

cert() { # name subject extensions
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$pki/$1.key" -subj "$2" 2>/dev/null |
    openssl x509 -req -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 365 -extfile <(printf '%s' "$3") -out "$pki/$1.crt" 2>/dev/null
}

certs() {
  [ -f "$pki/done" ] && return
  mkdir -p "$pki"
  chmod 700 "$pki"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" -days 365 \
    -subj /CN=peer-k8s-ca -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
  cert server /CN=kube-apiserver 'subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc
extendedKeyUsage=serverAuth'
  cert admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
  openssl genrsa -out "$pki/sa.key" 2048 2>/dev/null
  openssl rsa -in "$pki/sa.key" -pubout -out "$pki/sa.pub" 2>/dev/null
  touch "$pki/done"
}

kubeconfig() {
  b64() { base64 -w0 "$1"; }
  cat >"$dir/kubeconfig" <<C
apiVersion: v1
kind: Config
current-context: peer
clusters:
- name: peer
  cluster: {server: $url, certificate-authority-data: $(b64 "$pki/ca.crt")}
users:
- name: admin
  user: {client-certificate-data: $(b64 "$pki/admin.crt"), client-key-data: $(b64 "$pki/admin.key")}
contexts:
- name: peer
  context: {cluster: peer, user: admin, namespace: default}
C
  chmod 600 "$dir/kubeconfig"
}

node_ready() { api "$url/api/v1/nodes/fake-$1" | tr -d ' \n' | grep -q '"status":"True"[^}]*"type":"Ready"\|"type":"Ready","status":"True"'; }

start_api() {
  # endpoint-reconciler none: the endpoint of the service "kubernetes" must not be a loopback address
  spawn apiserver "$bin" kube-apiserver --etcd-servers "http://127.0.0.1:$((port + 1))" --bind-address 127.0.0.1 --secure-port "$port" \
    --advertise-address 127.0.0.1 --endpoint-reconciler-type none --service-cluster-ip-range 10.0.0.0/16 \
    --authorization-mode Node,RBAC --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/server.crt" --tls-private-key-file "$pki/server.key" \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key" \
    --allow-privileged=true
  until_ok 60 kube-apiserver api "$url/readyz"
}

start() {
  local q
  for q in etcd apiserver controllers scheduler kwok; do if live $q >/dev/null; then die "$q is already running in $dir"; fi; done
  build
  mkdir -p "$dir"
  certs
  kubeconfig
  rm -f "$dir"/*.pid # of parts that died: none of ours lives here, as checked above
  # what is half up when the start fails is taken down again
  trap '[ $? = 0 ] || stop' EXIT
  local etcd_cmd=("$bin" etcd --unsafe-no-fsync) # test data: not worth waiting for the disk
  [ -z "$etcd" ] || etcd_cmd=("$etcd")
  spawn etcd "${etcd_cmd[@]}" --name peer --data-dir "$dir/etcd" --listen-client-urls "http://127.0.0.1:$((port + 1))" \
    --advertise-client-urls "http://127.0.0.1:$((port + 1))" --listen-peer-urls "http://127.0.0.1:$((port + 2))" \
    --initial-advertise-peer-urls "http://127.0.0.1:$((port + 2))" --initial-cluster "peer=http://127.0.0.1:$((port + 2))"
  until_ok 20 etcd curl -sf "http://127.0.0.1:$((port + 1))/health"
  start_api
  local p
  for p in $parts; do
    case $p in
      controllers) spawn controllers "$bin" kube-controller-manager --kubeconfig "$dir/kubeconfig" --leader-elect=false --secure-port 0 \
        --service-account-private-key-file "$pki/sa.key" --root-ca-file "$pki/ca.crt" --controllers '*,-node-ipam-controller' ;;
      scheduler) spawn scheduler "$bin" kube-scheduler --kubeconfig "$dir/kubeconfig" --leader-elect=false --secure-port 0 ;;
      kwok) # kwok has no stages of its own at run time; K8S_STAGES may add more (a pod that fails, a slow one)
        "$bin" kwok-stages | cat - ${K8S_STAGES:+"$K8S_STAGES"} >"$dir/kwok.yaml"
        spawn kwok "$bin" kwok --kubeconfig "$dir/kubeconfig" --manage-all-nodes --config "$dir/kwok.yaml" --cidr "$cidr" --node-ip 127.0.0.1 --node-lease-duration-seconds 40 ;;
      *) die "K8S_PARTS: no part $p" ;;
    esac
  done
  case " $parts " in *" controllers "*) until_ok 60 'default service account' api "$url/api/v1/namespaces/default/serviceaccounts/default" ;; esac
  case " $parts " in *" kwok "*)
    local i
    for i in $(seq "$nodes"); do
      api -o /dev/null -H 'Content-Type: application/json' "$url/api/v1/nodes" -d '{"apiVersion":"v1","kind":"Node","metadata":{"name":"fake-'"$i"'","labels":{"type":"kwok","kubernetes.io/hostname":"fake-'"$i"'"},"annotations":{"kwok.x-k8s.io/node":"fake"}}}' 2>/dev/null || true
    done
    for i in $(seq "$nodes"); do until_ok 60 "node fake-$i" node_ready "$i"; done ;;
  esac
  trap - EXIT
  echo "$dir/kubeconfig"
}

stop() {
  local p pid
  for p in ${*:-kwok scheduler controllers apiserver etcd}; do
    pid=$(live $p) || continue
    kill "$pid"
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    if kill -0 "$pid" 2>/dev/null; then kill -9 "$pid"; fi
    rm -f "$dir/$p.pid"
  done
}

case ${1:-} in
  build) build; echo "$bin" ;;
  start) start ;;
  stop) stop ;;
  stop-api) stop apiserver ;;
  start-api) start_api ;;
  wipe) stop; case $dir in /|"$HOME"|'') die K8S_DIR ;; esac
    rm -rf "$dir/etcd" "$pki" "$dir/kubeconfig" "$dir/kwok.yaml" "$dir"/*.log "$dir"/*.pid; rmdir "$dir" 2>/dev/null || true ;;
  status) rc=1; for p in etcd apiserver controllers scheduler kwok; do pid=$(live $p) || continue; rc=0
      echo "$p pid $pid $(awk '/VmRSS|VmHWM/{printf "%s %d MiB ", $1, $2/1024}' "/proc/$pid/status")"; done; exit $rc ;;
  token) api -H 'Content-Type: application/json' "$url/api/v1/namespaces/$2/serviceaccounts/$3/token" \
      -d '{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":3600}}' | tr -d ' \n' | sed -n 's/.*"token":"\([^"]*\)".*/\1/p' ;;
  *) sed -n '2,20p' "$0"; exit 2 ;;
esac
