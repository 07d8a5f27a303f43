/** Puts the dashboard together: what the server counts, one card per concern, the live connection. */

import { getStatistics } from "../api.js";
import { createBadge } from "../cards/badge.js";
import { connect } from "../progress.js";
import { createSession } from "../session.js";
import { createStore } from "../store.js";
import { createEndings } from "./endings.js";
import { createFigures } from "./figures.js";
import { createFreshness } from "./freshness.js";
import { createNumbers } from "./numbers.js";
import { createPolling } from "./polling.js";
import { createQueues } from "./queues.js";
import { createTimes } from "./times.js";
import { createVisibility } from "./visibility.js";
import { createWindows } from "./windows.js";

const store = createStore({
  connection: "connecting",
  hours: new URLSearchParams(location.search).get("hours") ?? "24",
  statistics: null, // the last answer
  answeredAt: null, // Date of that answer
  problem: null, // why there is none newer
});

let asked = 0;
const polling = createPolling(async () => {
  const mine = ++asked;
  try {
    const statistics = await getStatistics(store.state.hours);
    if (mine === asked) store.update((state) => ({ ...state, statistics, answeredAt: new Date(), problem: null }));
  } catch (problem) {
    if (mine === asked) store.update((state) => ({ ...state, problem }));
  }
});

store.watch((state) => state.connection, createBadge());
store.watch((state) => state, createFreshness());
store.watch((state) => state, createVisibility());
for (const create of [createFigures, createTimes, createEndings, createQueues, createNumbers]) {
  store.watch((state) => state.statistics, create());
}
createWindows(store.state.hours, (hours) => {
  store.update((state) => ({ ...state, hours }));
  polling.now();
});

connect({
  connection(connected) {
    store.update((state) => ({ ...state, connection: connected ? "connected" : "disconnected" }));
    if (connected) polling.now();
  },
  event: ({ progress }) => progress === 100 && polling.soon(),
  caughtUp() {}, // it follows no song: it hears of all of them
  wanted: () => new Map(),
});
createSession();
polling.now();
