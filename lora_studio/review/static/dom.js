// Building elements. Every string becomes a text node or an attribute: nothing here is ever parsed as markup.

export function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value === false || value === null || value === undefined) continue;
        if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
        else node.setAttribute(name, value === true ? '' : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
}

// A screen that has no clips: what is missing, and the command that mends it.
export function emptyState({title, text, command}) {
    return el('section', {class: 'empty'},
        el('h2', {}, title),
        el('p', {}, text),
        command ? el('pre', {tabindex: '0'}, el('code', {}, command)) : null);
}

// Whether a key press belongs to what has the focus rather than to the screen.
export function isTyping(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return true;
    return event.target.closest('input, textarea, select, [contenteditable], [role=tab], [role=radio]') !== null;
}

// Calls `handle` for key presses while `root` is on the page and visible.
export function onKeys(root, handle) {
    const listener = (event) => {
        if (!root.isConnected) document.removeEventListener('keydown', listener);
        else if (root.offsetParent !== null && !isTyping(event)) handle(event);
    };
    document.addEventListener('keydown', listener);
}
