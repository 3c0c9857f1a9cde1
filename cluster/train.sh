#!/usr/bin/env bash
# cluster/train.sh CLUSTER.yaml key=value ...: start `python -m raes.train key=value ...` as a job on the cluster's head, with
# the files of this folder, and follow it. The job continues when this command ends.
set -euo pipefail
cluster=$1
shift
# A free port: an earlier tunnel to the same cluster may stay for some seconds.
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:$port
export PYTHONUNBUFFERED=1 # print lines at once, also into a file

set -m # each background program gets a process group of its own, which is killed with all of its children
trap 'kill -- "-$tunnel" ${follower:+"-$follower"} 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM HUP
ray dashboard "$cluster" --port "$port" >/dev/null &
tunnel=$!
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
  kill -0 "$tunnel" 2>/dev/null || { echo "no tunnel to the head: is the cluster up? See: ray dashboard $cluster"; exit 1; }
  sleep 0.2
done
ray job submit --working-dir . -- python -m raes.train "$@" &
follower=$!
wait "$follower"
