#!/usr/bin/env bash
# Installs the Debian packages coati is built and run with, those that are missing. Does nothing, and needs no network,
# when all are there.
set -euo pipefail

packages=(
  build-essential cmake ninja-build pkg-config git
  libopenblas-openmp-dev libinih-dev libcjson-dev libsentencepiece-dev libpcre2-dev libutf8proc-dev
  zlib1g-dev libzstd-dev libsnappy-dev liblz4-dev libbrotli-dev
  libopenmpi-dev openmpi-bin
)

missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

sudo=
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "deps.sh: run as root, or install sudo; missing: ${missing[*]}" >&2
    exit 1
  fi
  sudo=sudo
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q
$sudo apt-get install -q -y --no-install-recommends "${missing[@]}"
