#!/bin/sh
# Finds a Python and hands over to build.py; where there is none, installs Debian's as root or says what to install.
set -eu
python=$(command -v python3.11 || command -v python3 || true)
if [ -z "$python" ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "[phenoloom] installing python3.11 with apt-get" >&2
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3.11 python3.11-venv >&2 || true
    python=$(command -v python3.11 || true)
fi
if [ -z "$python" ]; then
    echo "[phenoloom] error: Python 3.11 with venv is needed (Debian: apt-get install python3.11 python3.11-venv)" >&2
    exit 1
fi
exec "$python" "$(dirname "$0")/build.py" "$@"
