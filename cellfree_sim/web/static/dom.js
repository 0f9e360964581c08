// Elements, made without any HTML text: whatever a run tells is shown as text and nothing else.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...present(children));
  return node;
}

const present = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/** An HTML element; attributes that begin with "on" are listeners. */
export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Put `children` in the place of all that `node` holds; those that are null are left out. */
export function replace(node, ...children) {
  node.replaceChildren(...present(children));
}

/** Show `text` in `node`, touching the page only where it differs. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set attributes, touching the page only where they differ; null takes one away. */
export function setAttributes(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) {
      if (node.hasAttribute(key)) node.removeAttribute(key);
    } else if (node.getAttribute(key) !== String(value)) node.setAttribute(key, value);
  }
}

/** Children of `parent` that follow a list: kept by key, so that focus and hover survive. */
export class Keyed {
  constructor(parent, create, update) {
    this.parent = parent;
    this.create = create;
    this.update = update;
    this.nodes = new Map();
  }

  show(items) {
    const keys = new Set(items.map(([key]) => key));
    for (const [key, node] of this.nodes) {
      if (keys.has(key)) continue;
      node.remove();
      this.nodes.delete(key);
    }
    let place = this.parent.firstChild;
    for (const [key, item] of items) {
      let node = this.nodes.get(key);
      if (!node) {
        node = this.create(item, key);
        this.nodes.set(key, node);
      }
      if (node === place) place = place.nextSibling;
      else this.parent.insertBefore(node, place);
      this.update(node, item, key);
    }
  }
}

export const $ = (id) => document.getElementById(id);
