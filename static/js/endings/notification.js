/** Notifications of the browser: whether they may be shown, and showing one. */

const BLOCKED = "This browser blocks notifications from this page; its settings for the page allow them.";
const NONE = "This browser shows no notifications here; it does on https and on localhost.";
const TAG = "ended"; // a newer one takes the place of the last

export const mayNotify = () => globalThis.Notification?.permission === "granted";

/** Ask the person at the screen; a sentence that says why not, or null. */
export async function askToNotify() {
  if (!globalThis.Notification || !isSecureContext) return NONE;
  return (await Notification.requestPermission()) === "granted" ? null : BLOCKED;
}

/** Show one; a click on it comes back to the page. Throws where a browser leaves that to service workers. */
export function notify(title, body) {
  const shown = new Notification(title, { body, tag: TAG, icon: "/static/favicon.svg" });
  shown.addEventListener("click", () => {
    window.focus();
    shown.close();
  });
}
