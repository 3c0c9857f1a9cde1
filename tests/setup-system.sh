#!/usr/bin/env bash
# Installs the Debian packages that some tests need, where they are missing. Run as root; the tests that find no browser,
# no renderer, no display or no tools for a lab are skipped, with a word.
set -euo pipefail

packages=(
  chromium chromium-driver  # TensorBoard's page and ours in a real browser
  libegl1 libegl-mesa0      # MuJoCo's pictures without a display
  libosmesa6                # the same without EGL
  xvfb                      # a display, for the window of raes.play
  tmux                      # a terminal that breaks long lines anew when it becomes narrower
  strace                    # kills and failing disks at exact system calls, for tests/attack
  # Hosts of network namespaces, for tests/cluster.
  iproute2 nftables openssh-client openssh-server rsync util-linux
)

command -v apt-get >/dev/null || { echo "no apt-get here: install ${packages[*]} yourself"; exit 0; }
missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || { echo "not root: the tests that need ${missing[*]} will be skipped"; exit 0; }
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
