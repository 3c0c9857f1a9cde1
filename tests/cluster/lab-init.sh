#!/bin/bash
# lab-init.sh TTL KEEP...: the first process of a lab, which is also the laptop. Namespaces of its own, no uplink. Folders
# KEEP below /tmp stay visible. Killing this process removes every host, process, bridge and mount of the lab.
set -euo pipefail
here=$(dirname "$0") ttl=$1; shift
source "$here/private.sh"
private_folders 8g 2g "$@"
ip link set lo up
# Fixed MAC addresses: a bridge takes the lowest of its ports otherwise, which changes when a host goes, and ssh hangs.
ip link add br0 address 02:77:00:00:00:01 type bridge
ip link set br0 up
for net in $NETS; do ip addr add "$net" dev br0; done
for route in $ROUTES; do ip route add "$route" dev br0; done
echo 1 >/proc/sys/net/ipv4/ip_forward # what leads nowhere is refused at once
private_name laptop 127.0.0.1
private_user root "$LAB/laptop"
touch "$LAB/ready"
sleep "$ttl" & wait $! # bash as the first process takes in orphans
