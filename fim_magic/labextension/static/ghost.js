// Ghost text: a provider of JupyterLab's inline completions, which draws them, and takes one with Tab.
//
// JupyterLab asks at the end of a line that has text, and from 4.4 on within one. Elsewhere, as on an empty line, this
// asks by itself after a pause in typing, and has JupyterLab show what came.

const MS_OF_A_PAUSE = 250;
const MS_TO_WAIT = 60_000; // for the first token: a long prompt takes its time
const CANDIDATES = 3; // where the user has asked
const ACTIVE = 'jp-mod-inline-completer-active';
const NOTHING = 'The model has nothing to put here.';
const INVOKE = 0; // of JupyterLab's InlineCompletionTriggerKind
const WORD = /^\s*(?:[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]+)?/u;
const LINE = /^(?:[ \t]*\n)*[^\n]*/;

/** What tells a place from others, as long as nothing but the cursor moves. */
const at = (place) => place && `${place.cell.id}/${place.prefix.length}/${place.suffix.length}`;

/** One request, and what has come of it. */
class Answer {
  constructor(place, channel, isAutomatic, now) {
    Object.assign(this, { place, channel, isAutomatic, now });
    this.texts = [''];
    this.isDone = false;
    this.isPart = false; // taken in part
    this.isSeen = false;
    this.waiting = [];
  }

  get isStale() {
    return this.rest() === null;
  }

  /** What was typed since, if that is what the answer begins with or may yet, or null: then it is for another place. */
  typed(place) {
    const { cell, prefix, suffix } = this.place;
    if (!place || place.cell.id !== cell.id || place.suffix !== suffix || place.selected) return null;
    if (!place.prefix.startsWith(prefix)) return null;
    const typed = place.prefix.slice(prefix.length);
    const fits = (text) => text.startsWith(typed) || (!this.isDone && typed.startsWith(text));
    return this.texts.some(fits) ? typed : null;
  }

  /** What is left of each text that still fits, or null. */
  rest(place = this.now()) {
    const typed = this.typed(place);
    if (typed === null) return null;
    return this.texts.map((text) => (text.startsWith(typed) ? text.slice(typed.length) : ''));
  }

  /** Whether the user has typed all of it: it is in the cell, and so it was not left. */
  isTyped(place = this.now()) {
    const { cell, prefix } = this.place;
    const begins = (text) => text && place.prefix.startsWith(prefix + text);
    return place?.cell.id === cell.id && this.texts.some(begins);
  }

  changed() {
    const { waiting } = this;
    this.waiting = [];
    waiting.forEach((resolve) => resolve());
  }

  /** Wait until more has come, or it is over. */
  next() {
    return this.isDone ? Promise.resolve() : new Promise((resolve) => this.waiting.push(resolve));
  }
}

export class GhostText {
  constructor({ channels, manager, tracker, where, isWithinLines, say, warn, texts }) {
    Object.assign(this, { channels, manager, tracker, where, isWithinLines, say, warn, texts });
    this.identifier = 'fim-magic';
    this.name = 'fim-magic';
    this.schema = {
      properties: {
        automatic: {
          title: 'Automatic',
          description:
            'Whether ghost text comes after each pause in typing. FimMagics.ghost = "auto" says so in a kernel.',
          type: 'boolean',
        },
      },
      default: {
        enabled: true,
        automatic: false,
        autoFillInMiddle: true,
        debouncerDelay: MS_OF_A_PAUSE,
        timeout: MS_TO_WAIT,
      },
    };
    this.settings = this.schema.default;
    this.answer = null;
    this.timer = null;
    this.typedAt = null; // where the last key has typed something, if the cursor is still there
    this.said = new Set();
  }

  configure(settings) {
    this.settings = { ...this.schema.default, ...settings };
  }

  // --- what JupyterLab calls ---------------------------------------------------------------------

  async fetch(_request, { widget, triggerKind }) {
    const nothing = { items: [] };
    const place = this.tracker.has(widget) ? this.where() : null;
    if (!place || place.selected) return nothing;
    const isAsked = triggerKind === INVOKE;
    const left = this.answer?.rest(place);
    // JupyterLab asks some time after a key: by then the user may be where nothing was typed.
    if (!isAsked && !left && at(place) !== this.typedAt) return nothing;
    // Who asks where nothing came, or where all of it is typed, asks for another answer.
    const isSpent = isAsked && left && this.answer.isDone && !left.some(Boolean);
    if (!left || isSpent) {
      const started = await this.start(isAsked ? { candidates: CANDIDATES } : { automatic: true });
      if (!started) return nothing;
    }
    const { answer } = this;
    while (!answer.isDone && answer === this.answer && !answer.rest()?.some(Boolean)) await answer.next();
    const rest = answer === this.answer ? answer.rest() : null;
    if (!rest?.some(Boolean)) return nothing;
    this.see(answer);
    const isStreaming = !answer.isDone;
    const items = rest.map((insertText, index) => {
      const item = { insertText, isIncomplete: isStreaming && index === 0 };
      if (item.isIncomplete) item.token = this.token(answer, item);
      return item;
    });
    return { items: items.filter((item) => item.insertText || item.isIncomplete) };
  }

  async *stream(token) {
    const { answer, item } = this.streams.get(token) ?? {};
    this.streams.delete(token);
    while (answer && answer === this.answer) {
      const rest = answer.rest();
      if (rest === null) return;
      // By this JupyterLab sees whether what is typed goes along with it; it keeps it as it was at the first key.
      item.filterText = undefined;
      yield { response: { insertText: rest[0], isIncomplete: !answer.isDone } };
      this.see(answer);
      if (answer.isDone) return;
      await answer.next();
    }
  }

  streams = new Map();

  token(answer, item) {
    const token = `${answer.id}/${this.streams.size}/${item.insertText.length}`;
    this.streams.set(token, { answer, item });
    return token;
  }

  // --- requests ----------------------------------------------------------------------------------

  /** The channel for a pause in typing, and its kernel, where such a pause is a question and can be answered. */
  forPause({ kernel }) {
    const channel = this.channels.get(kernel);
    const state = channel?.state.ghost;
    const isQuestion = this.settings.enabled && (state === 'auto' || (state === 'key' && this.settings.automatic));
    return isQuestion && !channel.isBusy ? { channel, kernel } : {};
  }

  /**
   * Ask the kernel for what belongs at the cursor. Returns whether it was asked.
   *
   * @param instead An answer that the user sees, whose place the new one takes: they are one offer.
   */
  async start({ automatic = false, candidates = 1, texts = null, instead = null } = {}) {
    const asked = this.where();
    if (!asked) return false;
    const given = automatic ? this.forPause(asked.notebook) : await this.channels.forUser(() => asked.notebook.kernel);
    const { channel, kernel, lack } = given;
    if (lack) (lack === this.texts.BUSY ? this.say : this.warn)(lack);
    const place = this.where();
    if (!channel || !this.texts.isSameCell(place, asked, kernel) || place.selected) return false;
    if (instead && instead !== this.answer) return false;
    const answer = new Answer(place, channel, automatic, this.where);
    if (texts) answer.texts = texts;
    if (instead) {
      answer.isSeen = instead.isSeen;
      instead.isSeen = false; // it is not left: the new one begins with it
    }
    this.drop();
    this.answer = answer;
    answer.id = channel.ask({ do: 'ghost', automatic, candidates, instead: instead?.id ?? '' }, place);
    const listener = (message) => {
      if (message.type === 'record' && message.id === answer.id) {
        place.notebook.setRecord(message.cell_id, message.record);
      } else if (message.type === 'closed' || message.id === answer.id) {
        if (answer === this.answer) this.hear(answer, message);
      }
      if (message.type === 'closed') channel.listeners.delete(listener);
    };
    answer.forget = () => setTimeout(() => channel.listeners.delete(listener), MS_TO_WAIT); // a record may come
    channel.listeners.add(listener);
    return true;
  }

  hear(answer, message) {
    if (message.type === 'text') {
      answer.texts[0] = message.text;
    } else if (message.type === 'done') {
      answer.texts = message.texts;
      answer.isDone = true;
    } else {
      answer.isDone = true;
      if (message.reason) this.tell(message.reason, answer.isAutomatic);
      this.drop();
      return;
    }
    if (answer.isStale) {
      this.drop();
      return;
    }
    if (answer.isDone && !answer.isAutomatic && !answer.texts.some(Boolean)) this.say(NOTHING);
    answer.changed();
    this.see(answer); // it may be on the screen already, as the first of several
    if (answer.isDone && answer.texts.length > 1) this.showAll(answer);
  }

  /** Say why there is no ghost text: once, where nobody has asked for it. */
  tell(reason, isAutomatic) {
    if (isAutomatic && this.said.has(reason)) return;
    this.said.add(reason);
    if (isAutomatic) this.say(reason);
    else this.warn(reason);
  }

  /** End the request, if there is one. The kernel stops at its next token, and counts what the user saw and left. */
  drop() {
    const { answer } = this;
    this.answer = null;
    if (!answer) return;
    if (answer.isSeen && !answer.isTyped()) answer.channel.send({ do: 'drop', id: answer.id });
    else if (!answer.isDone) answer.channel.send({ do: 'cancel', id: answer.id });
    answer.isDone = true;
    answer.changed();
    answer.forget?.();
  }

  // --- what the user does ------------------------------------------------------------------------

  /** The text or the cursor has changed: keep what still fits, stop what does not, and ask after a pause. */
  moved(isTyped) {
    if (this.answer?.isStale) this.drop();
    const place = this.where();
    // A key that types moves the cursor as well, which is told by itself.
    if (!isTyped && at(place) === this.typedAt) return;
    clearTimeout(this.timer);
    this.typedAt = isTyped ? at(place) : null;
    if (isTyped) this.timer = setTimeout(() => this.paused(), this.settings.debouncerDelay);
  }

  async paused() {
    const place = this.where();
    if (!place?.editor.hasFocus() || place.selected) return;
    if (!this.isWithinLines && /^./.test(place.suffix)) return;
    if (!this.answer?.rest(place) && !(await this.start({ automatic: true }))) return;
    await this.show(this.answer);
  }

  /** The editor does not have the keys any more, as after Escape: JupyterLab shows no ghost text there. */
  left() {
    if (this.answer && document.hasFocus() && !this.answer.place.editor.hasFocus()) this.drop();
  }

  /** Have JupyterLab show an answer as soon as there is something to see, if it has not asked for it itself. */
  async show(answer) {
    while (answer === this.answer && !answer.isDone && !answer.rest()?.some(Boolean)) await answer.next();
    if (answer !== this.answer || !answer?.rest()?.some(Boolean)) return;
    setTimeout(() => {
      if (answer === this.answer && !this.isShown(answer)) this.invoke();
    });
  }

  showAll(answer) {
    setTimeout(() => {
      if (answer === this.answer && this.isShown(answer)) this.invoke();
    });
  }

  isShown({ place }) {
    // JupyterLab lets its mark stand where what is typed is none of what it shows, and shows nothing any more.
    return place.editor.host.classList.contains(ACTIVE) && this.completer?.current !== null;
  }

  invoke() {
    this.manager.inline?.invoke(this.tracker.currentWidget.id);
  }

  /** What JupyterLab shows texts of. It does not tell: where it cannot be seen, all is taken for ours. */
  get completer() {
    return this.manager._panelHandlers?.get(this.tracker.currentWidget?.id)?.inlineCompleter;
  }

  isOurs(item) {
    return !item?.provider || item.provider.identifier === this.identifier;
  }

  /** Which of several texts is shown, by its number. */
  shown(rest) {
    return Math.max(rest.indexOf(this.completer?.current?.insertText), 0);
  }

  /** Note that the user sees it, once JupyterLab has drawn it: what was thought of before a pause may never be. */
  see(answer) {
    setTimeout(() => {
      if (answer !== this.answer || !this.isShown(answer) || !this.isOurs(this.completer?.current)) return;
      if (!answer.isSeen) answer.channel.send({ do: 'seen', id: answer.id });
      answer.isSeen = true;
    });
  }

  get canTake() {
    return this.isOurs(this.completer?.current) && Boolean(this.answer?.rest()?.some(Boolean));
  }

  /** Take the next word or line of what is shown; the rest stays. */
  takePart(unit) {
    const { answer } = this;
    const rest = answer?.rest();
    if (!rest?.some(Boolean)) return;
    const index = this.shown(rest);
    const [part] = (unit === 'word' ? WORD : LINE).exec(rest[index]);
    if (!part) return;
    const isAll = answer.isDone && part === rest[index];
    // In one step with the cursor, as typing is: JupyterLab looks where that is when the text changes.
    const view = answer.place.editor.editor;
    view.dispatch(view.state.replaceSelection(part));
    if (isAll) {
      this.taken(answer, index, 'accept');
      return;
    }
    if (!answer.isPart) answer.channel.send({ do: 'taken', id: answer.id, candidate: index, how: 'part' });
    answer.isPart = true;
    if (answer === this.answer) setTimeout(() => !this.isShown(answer) && this.show(answer));
  }

  /** JupyterLab has put the shown text into the cell. */
  accepted() {
    const { answer } = this;
    const typed = answer?.typed(this.where());
    if (!answer || typed === null || !typed) return;
    const index = answer.texts.indexOf(typed);
    if (index >= 0) this.taken(answer, index, 'accept');
  }

  taken(answer, candidate, how) {
    answer.channel.send({ do: 'taken', id: answer.id, candidate, how });
    answer.isDone = true; // it is ended by that
    answer.isSeen = false;
    this.drop();
    this.start({ automatic: true }); // what comes next is thought of before anybody has paused
  }

  /** More answers are asked for where there is one, and the user looks for the next. */
  cycled() {
    const { answer } = this;
    const place = this.where();
    if (answer) this.see(answer);
    if (!answer?.isDone || answer.texts.length > 1 || !answer.rest(place)?.some(Boolean)) return;
    const items = this.completer?.model?.completions?.items ?? [];
    if (!items.every((item) => this.isOurs(item))) return; // there is more to look at
    this.start({ candidates: CANDIDATES, texts: answer.rest(place), instead: answer });
  }
}
