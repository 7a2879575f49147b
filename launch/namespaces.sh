#!/usr/bin/env bash
# Several hosts on one machine, for tests and demos: network namespaces on a switch of their own. Takes root and
# iproute2.
#
#   namespaces.sh up N                   makes the hosts detox1..detoxN, 10.77.0.1..N, and prints a hostfile
#   namespaces.sh sshd                   starts an sshd on each host, with a key of its own for all of them
#   namespaces.sh run COMMAND...         runs a command on detox1; mpirun there reaches the others, by ssh if there is sshd
#   namespaces.sh agent HOST COMMAND...  what mpirun calls in place of ssh where there is none
#   namespaces.sh cut I                  pulls the cable of host I
#   namespaces.sh mend I                 plugs it in again
#   namespaces.sh rate I RATE            limits what host I sends and receives, each: 100mbit
#   namespaces.sh traffic                prints for each host I: I, bytes in, bytes out
#   namespaces.sh down                   ends what runs on the hosts, and removes them
#
# DETOX_NET=NAME stands for another network with hosts NAME1..NAMEN; it shares nothing with the first.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # of tc and sshd
export DETOX_NET=${DETOX_NET:-detox}
subnet=10.77.0
switch=${DETOX_NET}0 # also a namespace, so that the machine's own network has no part in it
self=$(realpath "${BASH_SOURCE[0]}")
keys=/run/$switch # of sshd

namespaces() { # those of this network
  local path
  for path in /run/netns/"$DETOX_NET"*; do
    [[ ${path#/run/netns/"$DETOX_NET"} =~ ^[0-9]+$ ]] && basename "$path"
  done
  return 0
}

up() { # N
  [ "$1" -ge 1 ] && [ "$1" -le 254 ] || fail "up takes 1 to 254 hosts, got $1"
  [ -z "$(namespaces)" ] || fail "the network $DETOX_NET is up already: $self down"
  trap down ERR
  ip netns add "$switch"
  ip -n "$switch" link add bridge type bridge
  ip -n "$switch" link set bridge up
  local i host
  for i in $(seq "$1"); do
    host=$DETOX_NET$i
    ip netns add "$host"
    ip -n "$host" link set lo up
    ip -n "$host" link add eth0 type veth peer name "port$i" netns "$switch"
    ip -n "$host" address add "$subnet.$i/24" dev eth0
    ip -n "$host" link set eth0 up
    ip -n "$switch" link set "port$i" master bridge up
    echo "$subnet.$i"
  done
}

enter() { # I COMMAND...
  local host=$DETOX_NET$1
  shift
  # shellcheck disable=SC2016 # the inner shell is to expand these
  exec nsenter --net=/run/netns/"$host" unshare --uts sh -c 'hostname "$0" && exec "$@"' "$host" "$@"
}

start_sshd() {
  local daemon host
  daemon=$(type -P sshd) || fail "there is no sshd: install openssh-server"
  [ -n "$(namespaces)" ] || fail "there are no hosts yet: $self up N"
  [ ! -e "$keys" ] || fail "sshd is up already"
  mkdir -p /run/sshd # where it gives up its rights
  mkdir -m 700 "$keys"
  ssh-keygen -q -t ed25519 -N "" -f "$keys/host"
  ssh-keygen -q -t ed25519 -N "" -f "$keys/user"
  for host in $(namespaces); do
    (enter "${host#"$DETOX_NET"}" "$daemon" -f /dev/null -h "$keys/host" -o "AuthorizedKeysFile=$keys/user.pub" \
      -o StrictModes=no -o PermitRootLogin=prohibit-password -o "PidFile=$keys/$host.pid")
  done
}

agent() { # HOST COMMAND..., like ssh: an address or a name, and words that a shell reads
  local i=${1#"$subnet."}
  shift
  enter "${i#"$DETOX_NET"}" bash -c "$*"
}

rate() { # I RATE
  local limit="tbf rate $2 burst 256kb latency 100ms"
  # shellcheck disable=SC2086 # words
  tc -n "$DETOX_NET$1" qdisc replace dev eth0 root $limit
  # shellcheck disable=SC2086
  tc -n "$switch" qdisc replace dev "port$1" root $limit
}

traffic() { # as the switch counts them
  nsenter --net=/run/netns/"$switch" cat /proc/self/net/dev | sed -n 's/^ *port\([0-9]*\):/\1 /p' | awk '{print $1, $10, $2}'
}

running() {
  local namespace
  for namespace in $(namespaces); do ip netns pids "$namespace"; done
}

remote() { # what mpirun reaches other hosts by
  if [ -e "$keys" ]; then
    echo "ssh -i $keys/user -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=$keys/known"
  else
    echo "$self agent"
  fi
}

down() {
  local namespace
  rm -rf "$keys"
  running | xargs --no-run-if-empty kill -TERM 2>/dev/null || true
  for _ in $(seq 50); do
    [ -n "$(running)" ] || break
    sleep 0.1
  done
  running | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
  for namespace in $(namespaces); do ip netns delete "$namespace"; done
}

fail() {
  echo "namespaces.sh: $1" >&2
  exit 2
}

command=${1:-help}
shift || true
case $command/$# in
  up/1) up "$1" ;;
  run/0 | agent/[01]) fail "$command what?" ;;
  run/*) PRTE_MCA_plm_ssh_agent=$(remote) enter 1 "$@" ;;
  sshd/0) start_sshd ;;
  agent/*) agent "$@" ;;
  cut/1) ip -n "$switch" link set "port$1" down ;;
  mend/1) ip -n "$switch" link set "port$1" up ;;
  rate/2) rate "$@" ;;
  traffic/0) traffic ;;
  down/0) down ;;
  *)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$self" >&2
    exit 2
    ;;
esac
