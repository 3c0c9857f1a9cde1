#!/usr/bin/env bash
# cluster/train.sh CLUSTER.yaml key=value ...: start `python -m raes.train key=value ...` as a job on the cluster's head, with
# the files of this folder, and follow it. The job continues when this command ends.
set -euo pipefail
cluster=$1
shift
export RAY_AUTH_MODE=token
export PYTHONUNBUFFERED=1 # print lines at once, also into a file

set -m # each background program gets a process group of its own, which is killed with all of its children
tunnel='' follower=''
trap 'kill -- ${tunnel:+"-$tunnel"} ${follower:+"-$follower"} 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM HUP

# Who listens on a port of this machine: 0 this user, 1 nobody, 2 another user, who must not get the token.
listener() {
  python - "$1" <<'EOF'
import os, subprocess, sys
from pathlib import Path

port, table = int(sys.argv[1]), Path("/proc/net/tcp")
if table.exists():
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    owners = {int(row[7]) for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
else:
    found = subprocess.run(["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fu"], capture_output=True, text=True)
    owners = {int(line[1:]) for line in found.stdout.splitlines() if line.startswith("u")}
sys.exit(1 if not owners else 2 if owners != {os.getuid()} else 0)
EOF
}

# A free port, since an earlier tunnel to the same cluster may stay for some seconds. Another user may take it before ssh does.
for _ in 1 2 3 4 5; do
  port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  ray dashboard "$cluster" --port "$port" >/dev/null &
  tunnel=$!
  while whose=0 && { listener "$port" || whose=$?; } && [ "$whose" = 1 ]; do
    kill -0 "$tunnel" 2>/dev/null || { echo "no tunnel to the head: is the cluster up? See: ray dashboard $cluster"; exit 1; }
    sleep 0.2
  done
  [ "$whose" = 0 ] && break
  kill -- "-$tunnel" 2>/dev/null || true
  wait "$tunnel" || true
done
[ "$whose" = 0 ] || { echo "other users of this machine take every port before the tunnel does"; exit 1; }

export RAY_API_SERVER_ADDRESS=http://127.0.0.1:$port
ray job submit --working-dir . -- python -m raes.train "$@" &
follower=$!
wait "$follower"
