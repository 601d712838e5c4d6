#!/bin/sh
# Installs what positron is measured beside, pinned, into build/peers of the checkout (ignored by git): PyPI, npm, and
# Debian's nats-server if there is none (that needs root). What cannot be installed is said, and left out of a sitting.
cd "$(dirname "$0")" || exit 1
here=$PWD
into=${PEERS_DIR:-$here/../../build/peers}
mkdir -p "$into/js" && cd "$into" || exit 1
python=${PYTHON:-python3}

packages() {
    name=$1
    shift
    { [ -x "$name/bin/python" ] || "$python" -m venv "$name"; } && "$name/bin/python" -m pip install --quiet "$@" \
        || echo "setup: $name cannot be installed" >&2
}

packages misc nats-py==2.16.0 eclipse-zenoh==1.10.2 pynacl==1.6.2
packages iroh iroh==0.35.0 pynacl==1.6.2 # the last release whose Python package has gossip
packages pylibp2p libp2p==0.8.1 pynacl==1.6.2

command -v nats-server > /dev/null || [ -x /usr/sbin/nats-server ] \
    || { apt-get -q update && apt-get install -q -y --no-install-recommends nats-server; } > /dev/null \
    || echo "setup: nats-server cannot be installed" >&2

cp "$here/js/package.json" js/ && (cd js && npm install --silent --no-audit --no-fund) \
    || echo "setup: js-libp2p cannot be installed" >&2
