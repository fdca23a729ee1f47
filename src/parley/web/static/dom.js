// A few things that every view needs.

/** The element of that id, which the page has. @param {string} id @returns {any} */
export function $(id) {
  return document.getElementById(id);
}

/** A new copy of a template's element. @param {string} id @returns {any} */
export function copyOf(id) {
  return $(id).content.firstElementChild.cloneNode(true);
}

/**
 * Makes `parent` have these children in this order, and touches no more than it must.
 * @param {HTMLElement} parent @param {HTMLElement[]} children
 */
export function arrange(parent, children) {
  const wanted = new Set(children);
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  for (const child of [...parent.children]) {
    if (!wanted.has(/** @type {HTMLElement} */ (child))) child.remove();
  }
  children.forEach((child, i) => {
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null);
  });
  // An element that is moved loses the focus.
  if (focused !== document.activeElement && parent.contains(focused)) focused?.focus();
}

/** Shows or hides an element. @param {HTMLElement} element @param {unknown} shown */
export function show(element, shown) {
  element.hidden = !shown;
}

/** Sets text that may be the same as before. @param {Element} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Has an icon show another symbol. @param {Element} svg @param {string} symbol */
export function draw(svg, symbol) {
  svg.firstElementChild?.setAttribute("href", `#${symbol}`);
}
