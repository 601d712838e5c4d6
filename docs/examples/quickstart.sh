#!/bin/sh
# Three nodes on this computer, a message published on one, its arrival at another.
# Ends with 0 if it arrived, and with 1 if it did not. `make quickstart` runs it.
set -eu

folder=$(mktemp -d "${TMPDIR:-/tmp}/positron-XXXXXX")
nodes=

finish() {
    for node in $nodes; do kill "$node" 2>/dev/null || true; done
    wait
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 1' INT TERM

# start NAME [OPTION...]: a node with a data folder of its own, on a free port of 127.0.0.1
start() {
    name=$1
    shift
    twistd -n positron --network quickstart --host 127.0.0.1 --port 0 --data-dir "$folder/$name" "$@" \
        >"$folder/$name.log" 2>&1 &
    nodes="$nodes $!"
    if ! positron --quiet --data-dir "$folder/$name" status --wait 20 >/dev/null; then
        echo "node $name did not start:" >&2
        cat "$folder/$name.log" >&2
        exit 1
    fi
}

# address NAME: where a node listens
address() {
    positron --data-dir "$folder/$1" --json id | sed 's/.*"address": *"\([^"]*\)".*/\1/'
}

echo "Starting three nodes..."
start one
start two --bootstrap "$(address one)"
start three --bootstrap "$(address one)"
for name in one two three; do
    echo "  $name is $(positron --data-dir "$folder/$name" --json id | sed 's/.*"node_id": *"\([^"]*\)".*/\1/')"
done

# --history, so that it makes no difference whether the subscription or the message comes first.
positron --quiet --data-dir "$folder/three" sub greetings --history 1 --count 1 --for 20 >"$folder/heard" &
listener=$!
echo "Publishing 'hello' on one, listening on three..."
positron --data-dir "$folder/one" pub greetings hello >/dev/null
wait "$listener" || true

if grep -q hello "$folder/heard"; then
    echo "Arrived: $(tail -n 1 "$folder/heard" | cut -f 4)"
else
    echo "It did not arrive." >&2
    exit 1
fi
