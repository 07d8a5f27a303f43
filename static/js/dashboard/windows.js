/** The choice of how far back to look, kept in the page's address. */

import { byId } from "../dom.js";

/**
 * @param {string} hours chosen at the start; empty for all
 * @param {(hours: string) => void} choose
 */
export function createWindows(hours, choose) {
  const fields = byId("windows");
  const field = [...fields.querySelectorAll("input")].find((input) => input.value === hours);
  if (field) field.checked = true;
  fields.addEventListener("change", ({ target }) => {
    history.replaceState(null, "", `?${new URLSearchParams({ hours: target.value })}`);
    choose(target.value);
  });
}
