// The status page: asks /v1/status and /v1/peers every two seconds and follows /v1/events.
// Whatever comes from the network is set as text, never as markup.

const INTERVAL_MS = 2000;
const MAX_EVENTS = 50;

const byId = (id) => document.getElementById(id);

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function list(id, pairs) {
  byId(id).replaceChildren(...pairs.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

function seconds(value) {
  if (value === null || value === undefined) return "";
  const whole = Math.floor(value);
  const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]]
    .map(([size, unit], i, all) => [i ? Math.floor((whole % all[i - 1][0]) / size) : Math.floor(whole / size), unit]);
  const first = parts.findIndex(([count]) => count > 0);
  return first < 0 ? "0s" : parts.slice(first, first + 2).map(([count, unit]) => `${count}${unit}`).join(" ");
}

function milliseconds(value) {
  return value === null || value === undefined ? "" : `${(value * 1000).toFixed(1)} ms`;
}

function state(name, text) {
  byId("state").dataset.state = name;
  byId("state").textContent = text;
}

function showStatus(status) {
  document.title = `positron ${status.network}`;
  state(status.ready ? "ready" : "waiting", status.ready ? "ready" : "not ready");
  const peers = status.peers;
  list("node", [
    ["id", status.node_id],
    ["network", status.network],
    ["version", status.version],
    ["up for", seconds(status.uptime_seconds)],
    ["listens on", status.listen.join(", ")],
    ["peers", `${peers.up} up (${peers.outbound} out, ${peers.inbound} in), ${peers.suspect} suspect, `
      + `${peers.known} known, ${peers.banned} banned`],
    ["stored", `${status.store.messages} messages in ${status.store.envelopes} envelopes, ${status.store.bytes} bytes`],
  ]);
  const rejected = Object.entries(status.rejected).map(([reason, count]) => `${reason} ${count}`).join(", ");
  list("messages", [
    ...Object.entries(status.messages).map(([name, count]) => [name.replace(/_total$/, ""), String(count)]),
    ["rejected for", rejected || "nothing"],
  ]);
}

function showPeers(peers) {
  byId("peers").replaceChildren(...peers.map((peer) => {
    const row = document.createElement("tr");
    row.append(
      element("td", peer.node_id.slice(0, 8)), element("td", peer.address), element("td", peer.direction),
      element("td", peer.state), element("td", peer.trust.toFixed(2)), element("td", milliseconds(peer.rtt_seconds)),
      element("td", peer.messages_in_total), element("td", peer.messages_out_total),
    );
    row.title = peer.node_id;
    return row;
  }));
}

function showEvent(event) {
  const { event: name, time, ...fields } = event;
  const text = Object.entries(fields).map(([key, value]) => `${key} ${value}`).join(", ");
  const clock = time ? new Date(time * 1000).toLocaleTimeString() : "";
  byId("events").prepend(element("li", `${clock} ${name} ${text}`));
  while (byId("events").children.length > MAX_EVENTS) byId("events").lastChild.remove();
}

async function get(path) {
  const reply = await fetch(path);
  if (!reply.ok) throw new Error(`${path}: ${reply.status}`);
  return reply.json();
}

async function refresh() {
  try {
    const [status, peers] = await Promise.all([get("/v1/status"), get("/v1/peers")]);
    showStatus(status);
    showPeers(peers.peers);
  } catch (error) {
    state("gone", `no answer: ${error.message}`);
  }
  setTimeout(refresh, INTERVAL_MS);
}

const source = new EventSource("/v1/events");
for (const name of ["event", "lagged"]) {
  source.addEventListener(name, (message) => showEvent(JSON.parse(message.data)));
}
refresh();
