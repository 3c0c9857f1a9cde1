# Shell functions for the first processes of the lab and of its hosts: folders and names that nobody else sees.

private_folders() { # private_folders SIZE_OF_TMP SIZE_OF_SHM KEEP...
  local tmp=$1 shm=$2 number=0 folder; shift 2
  mount -t tmpfs -o size=64m,mode=755 tmpfs /run
  for folder in "$@"; do
    [[ $folder == /tmp/* ]] || continue
    mkdir -p "/run/keep/$((++number))"
    mount --bind "$folder" "/run/keep/$number"
  done
  mount -t tmpfs -o size="$tmp",mode=1777 tmpfs /tmp
  number=0
  for folder in "$@"; do
    [[ $folder == /tmp/* ]] || continue
    mkdir -p "$folder"
    mount --bind "/run/keep/$((++number))" "$folder"
  done
  mount -t tmpfs -o size="$shm",mode=1777 tmpfs /dev/shm
}

private_name() { # private_name NAME ADDRESS
  hostname "$1"
  # `ray start` looks for clouds by their names: a resolver that refuses at once, else each look-up takes ten seconds.
  echo 'nameserver 127.0.0.1' >/run/resolv.conf
  printf '127.0.0.1 localhost\n%s %s\n' "$2" "$1" >/run/hosts
  mount --bind /run/resolv.conf /etc/resolv.conf
  mount --bind /run/hosts /etc/hosts
}

private_user() { # private_user NAME HOME: a user with root's number and a home folder, in this namespace only
  local file
  for file in passwd shadow; do
    if [[ ! -e /run/$file ]]; then cp "/etc/$file" "/run/$file" && mount --bind "/run/$file" "/etc/$file"; fi
    sed "/^$1:/d" "/etc/$file" >/run/new && cat /run/new >"/run/$file"
  done
  # Root's number belongs to the first line that has it, and that line's home is where ssh looks for keys.
  { echo "$1:x:0:0:$1:$2:/bin/bash"; cat /etc/passwd; } >/run/new && cat /run/new >/run/passwd
  { echo "$1:*:19000:0:99999:7:::"; cat /etc/shadow; } >/run/new && cat /run/new >/run/shadow
}
