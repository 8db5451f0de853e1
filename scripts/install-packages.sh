#!/bin/bash
# Installs the Debian packages the build needs, those that are missing only. With "aarch64" instead those that a test on
# an emulated processor needs.
set -euo pipefail

missing=()
options=()
need() { # PACKAGE COMMAND...: the package is missing if the command fails
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}
has_header() { printf '#include <%s>\n' "$1" | gcc -E - ; }

links_for_aarch64() {
  echo 'int main(void) { return 0; }' | clang --target=aarch64-linux-gnu -static -fuse-ld=lld -x c - -o /dev/null
}

if [ "${1:-}" = aarch64 ]; then
  options=(--no-install-recommends) # among them is what registers the emulator with the system
  need qemu-user command -v qemu-aarch64
  need libc6-dev-arm64-cross links_for_aarch64
  need "libgcc-$(gcc -dumpversion)-dev-arm64-cross" links_for_aarch64
else
  need gcc command -v gcc
  need g++ command -v g++
  need binutils command -v readelf
  need pkg-config command -v pkg-config
  need cmake command -v cmake
  need zlib1g-dev has_header zlib.h
  need libzstd-dev has_header zstd.h
  need libopenblas-dev has_header cblas.h
  need sentencepiece command -v spm_train
  need python3-venv python3 -c 'import ensurepip, venv'
fi

if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
echo "Installing: ${missing[*]}"
root=()
if [ "$(id -u)" -ne 0 ]; then root=(sudo); fi
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${options[@]}" "${missing[@]}"
