/** A task's two buttons, one of which is there: to start it, and to cancel it. The focus goes from one to the other. */

import { show, withFocus } from "../dom.js";
import { isOnTheWay } from "./tasks.js";

/**
 * @param {HTMLButtonElement} start
 * @param {HTMLButtonElement} cancel
 * @param {() => void} onCancel
 */
export function createTaskButtons(start, cancel, onCancel) {
  cancel.addEventListener("click", () => cancel.getAttribute("aria-disabled") !== "true" && onCancel());

  /** @param {boolean} possible whether it can be started now */
  return function render(task, possible) {
    const busy = isOnTheWay(task);
    const change = () => {
      start.disabled = !possible;
      show(start, !busy);
      show(cancel, busy);
    };
    withFocus([start, cancel], change, () => [cancel, start]);
    cancel.setAttribute("aria-disabled", task.cancelling || task.status !== "running"); // keeps the focus, unlike disabled
    cancel.textContent = task.cancelling ? "Cancelling…" : "Cancel";
  };
}
