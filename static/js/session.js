/** Signing in with an API key, where the service asks for one. The key becomes a cookie that no script can read. */

import { getSession, SIGNED_OUT, signIn, signOut } from "./api.js";
import { element } from "./dom.js";

const TITLE = "sign-in-title";

/** Ask for a key when one is needed; who is signed in finds the way out at the foot of the page. */
export async function createSession() {
  const ask = createDialog();
  document.addEventListener(SIGNED_OUT, ask);
  const session = await getSession().catch(() => ({})); // the page itself tells that the server cannot be reached
  if (session.keys_required && !session.name) ask();
  if (session.name) document.querySelector(".footer").append(createWayOut(session.name));
}

function createWayOut(name) {
  const button = element("button", { type: "button", class: "link-button" }, `Sign out ${name}`);
  button.addEventListener("click", async () => {
    await signOut().catch(() => {}); // then the page says so, still signed in
    location.reload();
  });
  return button;
}

/** The dialog; a function that shows it. */
function createDialog() {
  const key = element("input", { type: "password", id: "sign-in-key", autocomplete: "current-password", required: "" });
  const problem = element("p", { class: "sign-in-problem", role: "alert" });
  const button = element("button", { type: "submit", class: "button primary" }, "Sign in");
  const form = element(
    "form",
    {},
    element("h2", { id: TITLE }, "Sign in"),
    element("p", {}, "This service asks for an API key. Whoever runs it has one for you."),
    element("div", { class: "field" }, element("label", { for: "sign-in-key" }, "API key"), key),
    problem,
    button,
  );
  const dialog = element("dialog", { class: "sign-in", "aria-labelledby": TITLE }, form);
  dialog.addEventListener("cancel", (event) => event.preventDefault()); // behind it nothing works
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      await signIn(key.value);
      location.reload();
    } catch (error) {
      problem.textContent = error.message;
      button.disabled = false;
      key.select();
    }
  });
  document.body.append(dialog);
  return () => dialog.open || dialog.showModal();
}
