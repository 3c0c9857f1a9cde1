#!/usr/bin/env bash
# cluster/train.sh CLUSTER.yaml key=value ...: start `python -m raes.train key=value ...` as a job on the cluster's head, with
# the files of this folder, and follow it. The job goes on when this command ends. PORT: where the tunnel ends here.
set -euo pipefail
cluster=$1 port=${PORT:-8265}
shift
export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:$port PYTHONUNBUFFERED=1 # lines in a pipe as they come

set -m # the tunnel gets a group of its own: Ctrl-C leaves it alone, and it can be ended with all that it has started
ray dashboard "$cluster" --port "$port" >/dev/null &
tunnel=$!
trap 'kill -- "-$tunnel" 2>/dev/null' EXIT
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
  kill -0 "$tunnel" 2>/dev/null || { echo "no tunnel to $cluster: is it up, and port $port free? See: ray dashboard $cluster"; exit 1; }
  sleep 0.2
done
ray job submit --working-dir . -- python -m raes.train "$@"
