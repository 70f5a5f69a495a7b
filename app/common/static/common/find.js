// Finds elements that a page must have, according to its template.

/**
 * The first element at a selector. Throws an Error if there is none of this kind: then the script doesn't match the template.
 *
 * @template {Element} E
 * @param {string} selector
 * @param {new () => E} kind such as HTMLInputElement
 * @param {ParentNode} [within]
 * @returns {E}
 */
export function find(selector, kind, within = document) {
  const found = within.querySelector(selector);
  if (!(found instanceof kind)) throw new Error(`This page has no ${kind.name} at ${selector}.`);
  return found;
}
