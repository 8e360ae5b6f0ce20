// The bar that drives clips: play, step by frame, loop, and which frame is shown. One for each screen.

import {el, onKeys} from './dom.js';

export class Transport {
    // root: the screen, for its keys. groups(): the groups that are driven now, the first one leading the frame count.
    constructor(root, groups) {
        this.groups = groups;
        this.playing = false;
        this.button = el('button', {class: 'play', type: 'button', onclick: () => this.toggle()}, 'Play');
        this.counter = el('span', {class: 'frames'});
        this.loop = !matchMedia('(prefers-reduced-motion: reduce)').matches;
        this.loopButton = el('button', {class: 'loop', type: 'button', onclick: () => this.setLoop(!this.loop)}, 'Loop');
        this.bar = el('div', {class: 'transport', role: 'group', 'aria-label': 'Playback of all clips'},
            el('button', {class: 'step', type: 'button', 'aria-label': 'Previous frame', onclick: () => this.step(-1)}, '\u2039'),
            this.button,
            el('button', {class: 'step', type: 'button', 'aria-label': 'Next frame', onclick: () => this.step(1)}, '\u203a'),
            this.loopButton,
            this.counter,
            el('p', {class: 'keys'}, el('kbd', {}, 'Space'), 'play', el('kbd', {}, ','), el('kbd', {}, '.'), 'step by frame',
                el('kbd', {}, 'L'), 'loop'));
        this.setLoop(this.loop);
        onKeys(root, (event) => this.#key(event));
    }

    toggle() {
        return this.playing ? this.pause() : this.play();
    }

    play() {
        this.#setPlaying(true);
        this.#watch();
        return Promise.all(this.groups().map((group) => this.start(group)));
    }

    // Starts one group with the bar's settings; used for rows that come into view while the others play.
    start(group) {
        group.loop = this.loop;
        group.onend = () => { if (!this.groups().some((other) => other.playing)) this.#setPlaying(false); };
        return group.play();
    }

    // Everything stops on the frame of the first group, so that the clips can be compared.
    async pause() {
        this.#setPlaying(false);
        await Promise.all(this.groups().map((group) => group.pause()));
        await this.#align(0);
    }

    async step(by) {
        if (this.playing) await this.pause();
        await this.#align(by);
    }

    async #align(by) {
        const groups = this.groups();
        const frame = groups.length ? groups[0].frame + by : 0;
        await Promise.all(groups.map((group) => group.seek(frame)));
        this.refresh();
    }

    setLoop(loop) {
        this.loop = loop;
        this.loopButton.setAttribute('aria-pressed', loop);
        for (const group of this.groups()) group.loop = loop;
    }

    #setPlaying(playing) {
        this.playing = playing;
        this.button.textContent = playing ? 'Pause' : 'Play';
        this.bar.dataset.playing = playing;
    }

    #watch() {
        this.refresh();
        if (this.playing) requestAnimationFrame(() => this.#watch());
    }

    // Says which frame is shown; to be called when other clips come under the bar.
    refresh() {
        const lead = this.groups()[0];
        const text = lead ? `Frame ${lead.frame + 1} of ${lead.lead.frames}` : '';
        if (this.counter.textContent !== text) this.counter.textContent = text;
    }

    #key(event) {
        if (event.key === ' ' && !event.target.closest('button')) this.toggle();
        else if (event.key === ',') this.step(-1);
        else if (event.key === '.') this.step(1);
        else if (event.key.toLowerCase() === 'l') this.setLoop(!this.loop);
        else return;
        event.preventDefault();
    }
}

// A video element for one clip: silent, without controls of its own, and not playing until asked.
export function clipElement(clip, label) {
    const video = el('video', {
        class: 'clip', width: clip.width, height: clip.height, preload: 'auto', playsinline: true, 'aria-label': label,
        disablepictureinpicture: true,
    });
    video.muted = true;
    video.style.aspectRatio = `${clip.width} / ${clip.height}`;
    return video;
}
