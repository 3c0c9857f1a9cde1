#!/bin/bash
# host-init.sh NAME ADDRESS: the first process of a host: folders of its own, then sshd. From the environment: KEEP (folders to
# stay visible), PYTHON_ENV (shown read-only), IMAGE (what its home holds at first), HOST_USER, HOST_SHM, HOST_TMP, HOST_ENV
# (variables of every session), AUTHORIZED (files of public keys).
set -euo pipefail
here=$(dirname "$0")
source "$here/private.sh"
# shellcheck disable=SC2086
private_folders "$HOST_TMP" "$HOST_SHM" $KEEP
private_name "$1" "$2"
mount --bind "$PYTHON_ENV" "$PYTHON_ENV" && mount -o remount,ro,bind "$PYTHON_ENV"
# A home below /srv; the user is called as on a cloud's machine and has the number 0, like root.
mount -t tmpfs -o size=2g,mode=755 tmpfs /srv && mkdir -p -m700 /srv/home
cp -a "$IMAGE/." /srv/home/ && mkdir -p -m700 /srv/home/.ssh && mkdir -p /run/sshd
private_user root /srv/home && private_user "$HOST_USER" /srv/home
# shellcheck disable=SC2086
cat $AUTHORIZED >/srv/home/.ssh/authorized_keys
exec /usr/sbin/sshd -D -e -f /dev/null -o Port=22 -o HostKey="$LAB/hostkey" -o UsePAM=no -o PidFile=none -o UseDNS=no \
  -o PermitRootLogin=prohibit-password -o PasswordAuthentication=no -o StrictModes=no -o MaxSessions=50 \
  -o MaxStartups=100 -o AllowTcpForwarding=yes ${HOST_ENV:+-o "SetEnv=$HOST_ENV"}
