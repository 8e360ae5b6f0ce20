// Blind comparison: two clips without names, four answers, and after the last one who was who.

import {el, emptyState, onKeys} from './dom.js';
import {Group} from './player.js';
import {Transport, clipElement} from './transport.js';

const PATIENCE_MS = 15000; // a vote that is not confirmed by then may be sent again
const KEYS = {ArrowLeft: 'left', ArrowRight: 'right', n: 'same', b: 'neither'};

export function mount(root, {send, leave}) {
    let group = null;
    let ballot = null;
    let waiting = null;
    const transport = new Transport(root, () => (group ? [group] : []));
    const status = el('p', {class: 'notice', role: 'status', 'aria-live': 'polite'});
    const question = el('h2');
    const prompt = el('p', {class: 'asked'});
    const stage = el('div', {class: 'pair'});
    const progress = el('progress', {'aria-label': 'Comparisons made'});
    const counted = el('p', {class: 'counted'});
    const answers = [
        answer('left', 'Left', '\u2190'), answer('same', 'No preference', 'N'),
        answer('neither', 'Both unacceptable', 'B'), answer('right', 'Right', '\u2192'),
    ];
    const booth = el('section', {class: 'booth'},
        el('div', {class: 'progress'}, counted, progress, el('button', {class: 'quiet', type: 'button', onclick: leave}, 'Not you?')),
        question, prompt, stage, transport.bar,
        el('div', {class: 'answers', role: 'group', 'aria-label': 'Your choice'}, ...answers));
    const other = el('div');
    root.replaceChildren(status, booth, other);
    onKeys(root, (event) => {
        const choice = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
        if (!choice || !ballot || event.repeat) return;
        event.preventDefault();
        choose(choice);
    });

    function answer(choice, label, key) {
        return el('button', {class: `answer ${choice}`, type: 'button', onclick: () => choose(choice)},
            el('span', {}, label), el('kbd', {'aria-hidden': 'true'}, key));
    }

    function choose(choice) {
        if (!ballot || waiting) return;
        setWaiting(setTimeout(() => {
            setWaiting(null);
            status.textContent = 'The vote was not confirmed. Is the page\u2019s server still running? Choose again.';
        }, PATIENCE_MS));
        send({ballot, choice});
    }

    function setWaiting(timer) {
        clearTimeout(waiting);
        waiting = timer;
        for (const button of answers) button.setAttribute('aria-disabled', timer !== null || ballot === null);
    }

    function showBallot(value) {
        if (value.ballot !== ballot) drawPair(value);
        ballot = value.ballot;
        question.textContent = value.question;
        prompt.textContent = `${value.prompt} \u00b7 ${value.take}`;
        progress.max = value.total;
        progress.value = value.done;
        counted.textContent = `${value.done} of ${value.total} compared`;
        other.replaceChildren();
    }

    function drawPair(value) {
        if (transport.playing) transport.pause();
        const clips = value.clips.map((clip, side) => {
            const video = clipElement(clip, side === 0 ? 'Left clip' : 'Right clip');
            video.addEventListener('error', () => { status.textContent = 'A clip cannot be played: reload the page.'; });
            video.src = clip.src;
            return {video, fps: clip.fps, frames: clip.frames};
        });
        group = new Group(clips);
        transport.refresh();
        stage.replaceChildren(...clips.map(({video}, side) => el('figure', {}, video, el('figcaption', {}, side === 0 ? 'Left' : 'Right'))));
    }

    function leaveBallot(...screen) {
        if (transport.playing) transport.pause();
        ballot = null;
        group = null;
        stage.replaceChildren();
        other.replaceChildren(...screen);
    }

    return {
        show(value) {
            if (!value) return;
            booth.hidden = value.kind !== 'ballot';
            if (value.kind === 'ballot') showBallot(value);
            else if (value.kind === 'reveal') leaveBallot(reveal(value, leave));
            else leaveBallot(emptyState(value));
            setWaiting(null);
            const count = value.total === undefined ? '' : ` ${value.done} of ${value.total} compared.`;
            status.textContent = value.notice ? value.notice + count : '';
        },
    };
}

function reveal(value, leave) {
    return el('section', {class: 'reveal'},
        el('h2', {}, `All ${value.total} compared. This is who was who.`),
        table('Your votes', ['This', 'Votes', 'Or this', 'Votes', 'No preference', 'Both unacceptable'], value.tallies),
        table('Each comparison', ['Prompt', 'Left was', 'Right was', 'You chose'], value.picks),
        el('button', {class: 'quiet', type: 'button', onclick: leave}, 'Compare as someone else'));
}

function table(label, titles, rows) {
    const kind = (cell) => ({class: typeof cell === 'number' ? 'number' : null});
    const head = titles.map((title, column) => el('th', {scope: 'col', ...kind(rows[0]?.[column])}, title));
    const body = rows.map((row) => el('tr', {}, ...row.map((cell) => el('td', kind(cell), String(cell)))));
    return el('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label},
        el('table', {}, el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...body)));
}
