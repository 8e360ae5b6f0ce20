// The wall: a row for each prompt, a clip for each look, all driven by one bar. Rows out of sight hold no clips.

import {el, emptyState} from './dom.js';
import {Group} from './player.js';
import {Transport, clipElement} from './transport.js';

export function mount(root) {
    let rows = [];
    const seen = () => rows.filter((row) => row.visible && row.group).map((row) => row.group);
    const transport = new Transport(root, seen);
    const near = new IntersectionObserver((entries) => entries.forEach(load), {rootMargin: '500px'});
    const visible = new IntersectionObserver((entries) => entries.forEach(drive), {threshold: 0.5});

    const rowOf = (entry) => rows.find((row) => row.section === entry.target);

    function load(entry) {
        for (const {video, src} of rowOf(entry)?.clips ?? []) {
            if (entry.isIntersecting && !video.hasAttribute('src')) video.src = src;
            if (!entry.isIntersecting && video.hasAttribute('src')) {
                video.removeAttribute('src');
                video.load();
            }
        }
    }

    function drive(entry) {
        const row = rowOf(entry);
        if (!row) return;
        row.visible = entry.isIntersecting;
        transport.refresh();
        if (!row.group || row.visible === row.group.playing) return;
        if (row.visible && transport.playing) transport.start(row.group);
        if (!row.visible) row.group.pause();
    }

    return {
        show(value) {
            if (!value) return;
            if (transport.playing) transport.pause();
            near.disconnect();
            visible.disconnect();
            if (value.kind === 'nothing') {
                rows = [];
                root.replaceChildren(emptyState(value));
                return;
            }
            rows = value.rows.map(drawRow);
            root.replaceChildren(...rows.map((row) => row.section), ...legend(value.legend), transport.bar);
            for (const row of rows) {
                near.observe(row.section);
                visible.observe(row.section);
            }
        },
    };
}

function drawRow(row) {
    const clips = [];
    const cells = row.cells.map((cell) => drawCell(cell, clips));
    const strip = el('div', {class: 'strip-of-clips'}, ...cells);
    strip.style.setProperty('--columns', row.cells.length);
    const section = el('section', {class: 'prompt'},
        el('h2', {}, row.prompt, row.control ? el('span', {class: 'control'}, 'Control: not asked to be on brand') : null),
        strip);
    return {section, clips, visible: false, group: clips.length ? new Group(clips) : null};
}

function drawCell(cell, clips) {
    const figure = el('figure', {class: `cell ${cell.kind}`}, el('figcaption', {}, cell.look));
    if (cell.clip) {
        const video = clipElement(cell.clip, cell.look);
        clips.push({video, src: cell.clip.src, fps: cell.clip.fps, frames: cell.clip.frames});
        figure.append(video);
    } else {
        figure.append(el('p', {class: 'missing'}, cell.missing));
    }
    if (cell.scores?.length) figure.append(scores(cell.scores));
    return figure;
}

function scores(list) {
    return el('dl', {class: 'scores'}, ...list.map(({name, value, about, measured}) =>
        el('div', {title: about, class: measured ? null : 'unmeasured'}, el('dt', {}, name), el('dd', {}, value))));
}

function legend(list) {
    if (list.length === 0) return [el('p', {class: 'legend'}, 'Nothing was measured on these takes yet: run lora-studio score.')];
    const lines = list.flatMap(({name, text}) => [el('dt', {}, name), el('dd', {}, text)]);
    return [el('details', {class: 'legend'}, el('summary', {}, 'What the numbers mean'), el('dl', {}, ...lines))];
}
