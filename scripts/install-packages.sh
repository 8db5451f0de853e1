#!/bin/bash
# Installs the Debian packages the build needs, those that are missing only.
set -euo pipefail

missing=()
need() { # PACKAGE COMMAND...: the package is missing if the command fails
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}
has_header() { printf '#include <%s>\n' "$1" | gcc -E - ; }

need gcc command -v gcc
need g++ command -v g++
need binutils command -v readelf
need pkg-config command -v pkg-config
need zlib1g-dev has_header zlib.h
need libzstd-dev has_header zstd.h
need python3-venv python3 -c 'import ensurepip, venv'

if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
echo "Installing: ${missing[*]}"
root=()
if [ "$(id -u)" -ne 0 ]; then root=(sudo); fi
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
