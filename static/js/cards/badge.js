/** Top right: whether the live connection stands. */

import { byId } from "../dom.js";

const WORDS = { connecting: "Connecting…", connected: "Connected", disconnected: "Disconnected" };

export function createBadge() {
  const badge = byId("connection");
  const word = badge.querySelector(".badge-word");

  return function render(connection) {
    badge.dataset.status = connection;
    word.textContent = WORDS[connection];
  };
}
