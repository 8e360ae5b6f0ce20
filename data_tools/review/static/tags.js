// One shot: its pictures, what each source says of every axis, and a row of words to choose from. All of it works by keyboard.

import {el, emptyState, onKeys} from '/ui/dom.js';

const KEYS = [
    ['\u2190 \u2192', 'shot'], ['\u2191 \u2193', 'axis'], ['1\u20139', 'choose'], ['\u21e7 click', 'also'], ['-', 'does not apply'], ['0', 'nobody can tell'], ['\u232b', 'take back'],
    ['S', 'how far'], ['U', 'undo'], ['Space', 'play'],
];

export function mount(root, {send}) {
    let shown = null;
    let row = 0; // the axis that number keys speak of
    let scope = 'shot';
    let waiting = false;
    let asked = {query: '', like: ''}; // which shots the way leads through
    const status = el('p', {class: 'notice', role: 'status', 'aria-live': 'polite'});
    const desk = el('section', {class: 'desk'});
    root.replaceChildren(status, desk);
    onKeys(root, (event) => {
        if (event.key === ' ' && event.target.closest('button, video')) return; // presses what has the focus
        const act = shown && shown.kind === 'shot' ? keyed(event.key) : null;
        if (!act) return;
        event.preventDefault();
        act();
    });

    function keyed(key) {
        const axis = shown.axes[row];
        if (key === 'ArrowRight') return () => go(shown.next);
        if (key === 'ArrowLeft') return () => go(shown.previous);
        if (key === 'ArrowDown') return () => choose(row + 1);
        if (key === 'ArrowUp') return () => choose(row - 1);
        if (key === 'Backspace') return axis.said ? () => say(axis.axis, '') : () => {};
        if (key === '-') return () => say(axis.axis, axis.choices.at(-2));
        if (key === '0') return () => say(axis.axis, axis.choices.at(-1));
        if (/^[1-9]$/.test(key)) return Number(key) < axis.choices.length - 1 ? () => say(axis.axis, axis.choices[key - 1]) : () => {};
        if (key.toLowerCase() === 'u') return undo;
        if (key.toLowerCase() === 's') return nextScope;
        if (key === ' ') return play;
        return null;
    }

    function ask(what) {
        if (waiting) return;
        waiting = true;
        send({axis: '', value: '', scope: '', shot: shown.shot, ...asked, ...what});
    }

    function find(query, like) {
        asked = {query, like};
        scope = 'shot';
        ask({do: 'show', shot: ''});
    }

    function go(shot) {
        if (!shot) {
            status.textContent = 'There is no shot further that way.';
            return;
        }
        scope = 'shot'; // what is said of many shots is said on purpose each time
        ask({do: 'show', shot});
    }

    const say = (axis, value) => ask({do: 'say', axis, value, scope});
    const undo = () => ask({do: 'undo'});

    function choose(number) {
        row = Math.max(0, Math.min(shown.axes.length - 1, number));
        mark();
    }

    function nextScope() {
        const ids = shown.scopes.map((one) => one.id);
        scope = ids[(ids.indexOf(scope) + 1) % ids.length];
        mark();
    }

    function play() {
        const video = desk.querySelector('video');
        if (video.paused) video.play();
        else video.pause();
    }

    function mark() {
        desk.querySelectorAll('.axis').forEach((node, number) => node.classList.toggle('chosen', number === row));
        desk.querySelector('.axis.chosen')?.scrollIntoView({block: 'nearest'});
        desk.querySelectorAll('.scopes button').forEach((node) => node.setAttribute('aria-pressed', node.dataset.scope === scope));
    }

    function draw(value) {
        const focused = document.activeElement?.dataset.word;
        const video = el('video', {class: 'clip', src: value.clip.src, muted: true, loop: true, controls: true, playsinline: true,
            'aria-label': 'The shot'});
        video.muted = true;
        desk.replaceChildren(
            el('header', {class: 'strip'},
                el('h1', {}, value.name),
                el('p', {class: 'state'}, `${value.brand} \u00b7 ${value.place} \u00b7 ${value.open} \u00b7 ${value.by}`),
                finder(value)),
            el('div', {class: 'pictures'}, ...value.pictures.map((src, number) => el('img', {src, alt: `Picture ${number + 1} of 5`}))),
            el('div', {class: 'split'},
                el('div', {class: 'side'}, video, ...flags(value.flags), content(value.content), caption(value.caption)),
                el('div', {}, bar(value), el('div', {class: 'axes'}, ...value.axes.map(axisRow)), keys())));
        mark();
        if (focused) desk.querySelector(`[data-word="${focused}"]`)?.focus();
    }

    function finder(value) {
        const field = el('input', {type: 'search', value: value.typed, 'aria-label': 'Find shots', placeholder: 'bottle, low angle, backlit'});
        const look = (event) => {
            event.preventDefault();
            field.blur();
            find(field.value, '');
        };
        const all = value.query || value.like ? el('button', {type: 'button', onclick: () => find('', '')}, 'Show all') : null;
        return el('form', {class: 'finder', role: 'search', onsubmit: look}, field, el('button', {type: 'submit'}, 'Find'),
            el('button', {type: 'button', onclick: () => find('', value.shot)}, 'Find alike'), all);
    }

    function bar(value) {
        const scopes = value.scopes.map((one) => el('button', {type: 'button', 'data-scope': one.id, onclick: () => { scope = one.id; mark(); }},
            one.name));
        return el('div', {class: 'bar'},
            el('button', {type: 'button', onclick: () => go(value.previous), 'aria-disabled': `${!value.previous}`}, '\u2190 Previous'),
            el('button', {type: 'button', onclick: () => go(value.next), 'aria-disabled': `${!value.next}`}, 'Next \u2192'),
            el('div', {class: 'scopes', role: 'group', 'aria-label': 'What is said holds for'}, el('span', {}, 'Say it of'), ...scopes),
            el('button', {type: 'button', class: 'quiet', onclick: undo}, 'Undo'));
    }

    function axisRow(axis, number) {
        const words = axis.choices.map((value, place) => {
            const fromEnd = axis.choices.length - place;
            const text = {1: 'nobody can tell', 2: 'does not apply'}[fromEnd] ?? value.replaceAll('_', ' ');
            const key = {1: '0', 2: '-'}[fromEnd] ?? (place < 9 ? `${place + 1}` : '');
            return el('button', {type: 'button', class: axis.said.split('+').includes(value) ? 'said' : null,
                'aria-pressed': `${axis.value.split('+').includes(value)}`, 'data-word': `${axis.axis} ${place}`,
                onclick: (event) => { row = number; say(axis.axis, event.shiftKey ? joined(axis, value, fromEnd) : value); }},
                key ? el('kbd', {'aria-hidden': 'true'}, key) : null, text);
        });
        const back = el('button', {type: 'button', class: 'quiet', onclick: () => say(axis.axis, '')}, 'take back');
        return el('div', {class: `axis ${axis.status}`, role: 'group', 'aria-label': axis.name, 'data-axis': axis.axis},
            el('div', {class: 'name'}, el('b', {}, axis.name), axis.status === 'conflict' ? el('span', {class: 'badge'}, 'conflict') : null,
                el('small', {}, axis.sources.join(' \u00b7 ') || 'no source says anything'), axis.said ? back : null),
            el('div', {class: 'words'}, ...words));
    }

    /** What a person says of an axis with one word more, or less; a word alone where the axis has but one. */
    function joined(axis, word, fromEnd) {
        const ends = axis.choices.slice(-2);
        if (!axis.several || fromEnd <= 2 || !axis.said || ends.includes(axis.said)) return word;
        const words = axis.said.split('+');
        return (words.includes(word) ? words.filter((one) => one !== word) : [...words, word]).join('+');
    }

    function content(value) {
        const field = el('input', {type: 'text', maxlength: 300, value: value.value, 'aria-label': 'What is in the picture',
            placeholder: 'a red bottle on a table'});
        const save = (event) => {
            event.preventDefault();
            field.blur();
            say('content', field.value);
        };
        return el('form', {class: 'content', onsubmit: save},
            el('label', {}, 'What is in the picture, without camera, light or brand', field),
            el('small', {}, value.said ? `camera report: ${value.reported || 'nothing'}` : ''),
            el('button', {type: 'submit'}, 'Save words'));
    }

    return {
        show(value) {
            if (!value) return;
            waiting = false;
            shown = value;
            asked = {query: value.query ?? '', like: value.like ?? ''};
            status.textContent = value.notice ?? '';
            if (value.kind === 'shot') draw(value);
            else desk.replaceChildren(emptyState(value));
        },
    };
}

const flags = (found) => (found.length ? [el('p', {class: 'flags'}, `Flagged: ${found.join(', ')}`)] : []);

const caption = (text) => el('p', {class: 'caption'}, text || 'No caption yet: run data-tools caption.');

const keys = () => el('p', {class: 'keys', 'aria-hidden': 'true'}, ...KEYS.flatMap(([key, what]) => [el('kbd', {}, key), ` ${what}  `]));
