#!/bin/bash
# host-up.sh NAME GATEWAY ADDRESS/LEN [ADDRESS/LEN ...], inside the lab: plug a host in and start it; its settings are in the
# environment (see host-init.sh). Ends when its sshd listens.
set -euo pipefail
here=$(dirname "$0") name=$1 gateway=$2; shift 2
folder=$LAB/hosts/$name cable=v-$(printf %s "$name" | tail -c 11)
rm -rf "$folder"; mkdir -p "$folder"
# A namespace is freed late, so an earlier host's cable is taken away by hand.
ip link del "$cable" 2>/dev/null || true
ip netns del "$name" 2>/dev/null || true
ip netns add "$name"
# The MAC address comes from the address, so that a host that boots again is reachable at once.
mac=$(printf '02:00:%02x:%02x:%02x:%02x' $(tr . ' ' <<<"${1%/*}"))
ip link add "$cable" type veth peer name eth0 address "$mac" netns "$name"
ip link set "$cable" master br0 up
ip -n "$name" link set lo up
ip -n "$name" link set eth0 up
for address in "$@"; do ip -n "$name" addr add "$address" dev eth0; done
ip -n "$name" route add default via "$gateway" # Ray finds its own address by a route that leads out; nothing is sent
setsid ip netns exec "$name" unshare --mount --pid --uts --ipc --fork --kill-child --mount-proc \
  "$here/host-init.sh" "$name" "${1%/*}" </dev/null >"$folder/log" 2>&1 &
echo $! >"$folder/pid"
for _ in $(seq 500); do
  grep -q "Server listening" "$folder/log" 2>/dev/null && exit 0
  sleep 0.02
done
echo "host $name: sshd did not come up"; cat "$folder/log"; exit 1
