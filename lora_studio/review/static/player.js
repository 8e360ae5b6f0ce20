// Clips that play as one. Frame k of a clip is shown at (k + 0.5) / fps seconds: the middle of its time, never its edge.

const SLACK = 0.001; // of a frame: a time just below a frame's start, by rounding, is that frame

export class Group {
    // clips: [{video, fps, frames}]. The longest leads; the others follow it.
    constructor(clips) {
        this.clips = clips;
        this.lead = clips.reduce((one, two) => (two.frames / two.fps > one.frames / one.fps ? two : one));
        this.playing = false;
        this.loop = true;
        this.onend = () => {};
        this.lead.video.addEventListener('ended', () => this.#ended());
    }

    get frame() {
        return this.#frameAt(this.lead, this.lead.video.currentTime);
    }

    #frameAt(clip, time) {
        return Math.max(0, Math.min(clip.frames - 1, Math.floor(time * clip.fps + SLACK)));
    }

    // Shows frame `frame` of the lead, and of the others what is on screen at the same moment.
    seek(frame) {
        const wanted = Math.max(0, Math.min(this.lead.frames - 1, frame));
        const time = (wanted + 0.5) / this.lead.fps;
        return Promise.all(this.clips.map((clip) => settle(clip.video, (this.#frameAt(clip, time) + 0.5) / clip.fps)));
    }

    async play() {
        this.playing = true;
        await Promise.all(this.clips.map((clip) => ready(clip.video)));
        await this.seek(this.frame >= this.lead.frames - 1 ? 0 : this.frame);
        if (!this.playing) return;
        await Promise.all(this.clips.map((clip) => clip.video.play().catch(stopped)));
        this.#follow();
    }

    pause() {
        this.playing = false;
        for (const {video} of this.clips) {
            video.pause();
            video.playbackRate = 1;
        }
        return this.seek(this.frame);
    }

    // Keeps the others with the lead: small drift is made up by playing a little faster or slower, large drift by a jump.
    #follow() {
        if (!this.playing) return;
        const time = this.lead.video.currentTime;
        for (const {video, fps} of this.clips) {
            if (video === this.lead.video || video.ended || video.seeking || time >= video.duration) continue;
            const behind = time - video.currentTime; // seconds
            if (Math.abs(behind) > 2 / fps) video.currentTime = time;
            else video.playbackRate = Math.abs(behind) > 0.1 / fps ? 1 + Math.max(-0.25, Math.min(0.25, 5 * behind)) : 1;
        }
        setTimeout(() => this.#follow(), 50);
    }

    async #ended() {
        if (!this.playing) return;
        if (this.loop) {
            await this.seek(0);
            if (this.playing) for (const {video} of this.clips) video.play().catch(stopped);
        } else {
            this.playing = false;
            this.onend();
        }
    }
}

function ready(video) {
    if (video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA || video.error) return Promise.resolve();
    return new Promise((resolve) => {
        video.addEventListener('canplay', resolve, {once: true});
        video.addEventListener('error', resolve, {once: true});
    });
}

function settle(video, time) {
    if (video.readyState < HTMLMediaElement.HAVE_METADATA || video.error) return Promise.resolve();
    return new Promise((resolve) => {
        video.addEventListener('seeked', resolve, {once: true});
        video.addEventListener('emptied', resolve, {once: true});
        video.currentTime = time;
    });
}

// Starting a clip fails only because it was paused or taken away meanwhile: then there is nothing to start.
function stopped(reason) {
    if (reason.name !== 'AbortError' && reason.name !== 'NotSupportedError') throw reason;
}
