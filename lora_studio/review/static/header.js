// The strip above everything: brand, palette, and how things stand.

import {el} from './dom.js';

export function mount(root) {
    return {
        show(value) {
            if (!value) return;
            if (value.kind === 'nothing') {
                root.replaceChildren(el('header', {class: 'strip'}, el('h1', {}, 'Review'), el('p', {class: 'state'}, value.text)));
                return;
            }
            root.replaceChildren(el('header', {class: 'strip'},
                el('h1', {}, value.brand),
                el('ul', {class: 'palette', 'aria-label': 'Brand palette'}, ...value.palette.map(swatch)),
                el('p', {class: 'state'}, value.state)),
                ...(value.caveat ? [el('p', {class: 'caveat', role: 'note'}, value.caveat)] : []));
        },
    };
}

function swatch(colour) {
    const chip = el('span', {class: 'chip', 'aria-hidden': 'true'});
    chip.style.backgroundColor = colour;
    return el('li', {}, chip, el('span', {}, colour.toUpperCase()));
}
