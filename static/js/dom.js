/** Making and finding elements. Text goes in as text, never as markup. */

const SVG = "http://www.w3.org/2000/svg";

/** The element of that id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element.
 *
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children strings become text nodes
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A drawing of icons.svg; decoration only, hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", iconUrl(name));
  svg.append(use);
  return svg;
}

export const iconUrl = (name) => `/static/icons.svg#${name}`;

/** Show or hide an element. */
export function show(target, visible) {
  target.hidden = !visible;
}

/**
 * Change the page; where that takes away what had the focus, it goes on instead of falling to the page's beginning.
 *
 * @param {Element[]} watched only if one of these has the focus, or holds what has it
 * @param {() => void} change
 * @param {(had: Element) => (Element | undefined)[]} next where it may go, the best first; asked after the change
 */
export function withFocus(watched, change, next) {
  const had = document.activeElement;
  const ours = watched.some((one) => one.contains(had));
  change();
  if (ours && !canHaveFocus(had)) next(had).find(canHaveFocus)?.focus();
}

const canHaveFocus = (target) => Boolean(target?.checkVisibility?.({ visibilityProperty: true })) && !target.matches(":disabled");
