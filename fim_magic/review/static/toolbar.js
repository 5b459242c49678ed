// What can be done with an answer: buttons below the diff, with a key for each while the toolbar has the focus.
//
// The page acts by itself, so that a kernel that computes something else keeps nobody waiting; then it tells the kernel.

const OWNER_IS_GONE = 'The cell that asked is not in this notebook any more. Copy takes the text.';
const EDITED = 'The new cell is not as it was left, so it stays as it is.';
const EDITED_SINCE = 'This cell has changed since it asked, so it stays as it is. Accept puts the answer into a cell below.';
const LINE_END = /\r?\n/g;
const WORD = /^\s*(?:[\p{L}\p{N}_]+|[^\p{L}\p{N}_\s]+)/u;

/** For pages that are neither https nor on this machine: they have no `navigator.clipboard`. */
function copyBySelection(text) {
  const area = document.createElement('textarea');
  area.value = text;
  area.style.cssText = 'position: fixed; opacity: 0';
  document.body.appendChild(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  return copied;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

/** How much of what is added, over all holes, has been taken after the next word or line. */
function next(added, wholeLines, taken, unit) {
  let end = 0;
  for (const [hole, text] of added.entries()) {
    const rest = text.slice(Math.max(taken - end, 0));
    end += text.length;
    if (!rest.trim()) continue; // no click for white space alone
    const length = unit === 'word' ? WORD.exec(rest)[0].length : endOfLine(rest, wholeLines[hole]);
    if (rest.slice(length).trim()) return end - rest.length + length;
    if (added.slice(hole + 1).some((later) => later.trim())) return end;
  }
  return end;
}

/** Where the next line ends: behind its line end if what is added is made of whole lines, else before it. */
function endOfLine(text, wholeLines) {
  for (const end of text.matchAll(LINE_END)) {
    if (wholeLines) return end.index + end[0].length;
    if (text.slice(0, end.index).trim()) return end.index;
  }
  return text.length;
}

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** One answer's buttons. Its state is kept here per widget, as one widget may be shown in several places of a page. */
class Review {
  taken = 0; // characters of what the chosen candidate adds, over all holes
  held = null; // what the answer adds of which something was taken
  made = null; // the cell that holds them
  decided = false;
  said = '';
  listeners = new Set();

  constructor(model) {
    this.model = model;
    model.on('change:candidates', () => this.keep());
    model.on('change', () => this.changed());
  }

  /** Stay with the answer of which the user has taken something, where others have come before it. */
  keep() {
    if (!this.held || (!this.taken && !this.decided)) return;
    const index = this.model.get('candidates').findIndex((each) => each.added.join('') === this.held);
    if (index < 0 || index === this.model.get('index')) return;
    this.model.set('index', index);
    this.model.save_changes();
  }

  get candidate() {
    return this.model.get('candidates')[this.model.get('index')];
  }

  get hasImports() {
    return (this.candidate?.imported ?? null) !== null;
  }

  get isOpen() {
    return !this.decided && !this.model.get('busy');
  }

  changed() {
    for (const each of this.listeners) each();
  }

  say(text) {
    this.said = text;
    this.changed();
  }

  /** What the candidate adds to each hole; the imports are no part that is taken word by word. */
  get added() {
    const { added, imported } = this.candidate;
    return added.map((text, hole) => (hole === imported ? '' : text));
  }

  /** The user's text with so much of what is added, and with the imports unless they are left out. */
  text(taken = Infinity) {
    const { texts, added, imported } = this.candidate;
    let left = taken;
    let whole = texts[0];
    for (const [hole, text] of this.added.entries()) {
      whole += text.slice(0, Math.max(left, 0));
      if (hole === imported && this.model.get('imports')) whole += added[hole];
      whole += texts[hole + 1];
      left -= text.length;
    }
    return whole;
  }

  /** The kernel hears of it when it is done with its cell: by then the answers may have another order. */
  tell(act, more = {}) {
    this.held = this.candidate.added.join('');
    this.model.send({ act, index: this.model.get('index'), added: this.held, ...more });
  }

  request(text) {
    return { ...this.model.get('owner'), text, record: this.candidate.record };
  }

  /** Put the text into the notebook, or ask the kernel to do so where the page cannot. */
  place(decision) {
    const text = this.text();
    const replace = decision === 'replace';
    const { how, undo } = put(this.model, { ...this.request(text), replace, made: replace ? null : this.made });
    if (how === 'edited') return this.say(replace ? EDITED_SINCE : EDITED);
    if (how === 'not-mine') return this.say(OWNER_IS_GONE);
    this.decided = true;
    this.say('');
    this.tell(decision, { how, undo });
  }

  part(unit) {
    const taken = next(this.added, this.candidate.whole_lines, this.taken, unit);
    const added = this.added.join('');
    if (taken >= added.length) return this.place('accept');
    if (!this.show(taken)) return;
    this.say('That much is in the new cell below.');
    this.tell('part', { part: added.slice(0, taken) });
  }

  /** Make the cell below hold so much of what is added. Returns whether it does. */
  show(taken) {
    const { how, undo } = put(this.model, { ...this.request(this.text(taken)), made: this.made, quiet: true });
    if (how === 'edited') this.say('The new cell is not as it was left, so nothing is changed in it.');
    else if (how === 'not-mine') this.say(OWNER_IS_GONE);
    else if (!undo) this.say('Parts can be taken only where the page can make a cell. Accept takes all of it.');
    if (!undo) return false;
    this.taken = taken;
    this.made = undo;
    return true;
  }

  /** Take the imports with the rest, or no longer; also out of the cell that holds a part. */
  toggleImports() {
    if (!this.hasImports) return;
    const imports = !this.model.get('imports');
    this.model.set('imports', imports);
    if (this.made && !this.show(this.taken)) {
      this.model.set('imports', !imports);
      return;
    }
    this.model.save_changes();
    this.say(imports ? 'With the import.' : 'Without the import.');
  }

  undo() {
    if (!this.made) return;
    const how = takeBack(this.model, this.made, this.model.get('owner'));
    if (how === 'edited') return this.say('The new cell is not as it was left, so it stays.');
    this.made = null;
    this.taken = 0;
    this.say('Taken back.');
    this.tell('undo');
  }

  choose(index) {
    const count = this.model.get('candidates').length;
    if (count < 2) return;
    this.model.set('index', (index + count) % count);
    this.model.save_changes();
    this.taken = 0; // the cell with a part of another candidate is written over by the next part of this one
    this.changed();
  }

  act(name) {
    if (!this.isOpen) return;
    if (name === 'accept' || name === 'replace') this.place(name);
    else if (name === 'line' || name === 'word') this.part(name);
    else if (name === 'undo') this.undo();
    else if (name === 'copy') this.copy();
    else if (name === 'imports') this.toggleImports();
    else {
      this.decided = name === 'reject';
      this.changed();
      this.tell(name, { kept: this.made !== null });
    }
  }

  async copy() {
    const copied = await copy(this.text());
    this.say(copied ? 'Copied.' : 'The browser does not let this page copy.');
    if (copied) this.tell('copy');
  }
}

/** The name of what a key does, if it does anything. */
function byKey(review, key) {
  return review.model.get('buttons').find((act) => act.key.toLowerCase() === key.toLowerCase())?.name;
}

function button(review, act) {
  const made = element(
    'button',
    {
      type: 'button',
      class: `jupyter-button widget-button fim-act ${act.name === 'accept' ? 'mod-success' : ''}`,
      title: `${act.about} (${act.key})`,
      'aria-keyshortcuts': act.key,
      tabindex: '-1', // the toolbar itself has the focus, so that Tab can be a key
    },
    act.label,
  );
  made.addEventListener('click', () => review.act(act.name));
  return made;
}

function tab(review, index) {
  const made = element('button', { type: 'button', class: 'fim-tab', role: 'radio', tabindex: '-1' }, `${index + 1}`);
  made.addEventListener('click', () => review.choose(index));
  return made;
}

function draw(review, { toolbar, buttons, tabs, status }) {
  const { model } = review;
  const candidates = model.get('candidates');
  for (const each of Object.values(buttons)) each.disabled = !review.isOpen;
  buttons.again.hidden = buttons.more.hidden = !model.get('can_ask');
  buttons.undo.hidden = !review.made;
  const imports = Boolean(model.get('imports'));
  buttons.imports.hidden = !review.hasImports;
  buttons.imports.classList.toggle('mod-active', imports);
  buttons.imports.setAttribute('aria-pressed', `${imports}`);
  while (tabs.children.length > candidates.length) tabs.lastChild.remove();
  while (tabs.children.length < candidates.length) tabs.append(tab(review, tabs.children.length));
  tabs.hidden = candidates.length < 2;
  candidates.forEach(({ about, has_failed: hasFailed }, index) => {
    const each = tabs.children[index];
    each.textContent = hasFailed ? `${index + 1} ✗` : `${index + 1}`;
    each.disabled = !review.isOpen;
    each.title = about;
    each.setAttribute('aria-label', `Candidate ${index + 1} of ${candidates.length}: ${about}`);
    each.setAttribute('aria-checked', `${index === model.get('index')}`);
  });
  status.textContent = review.said || model.get('status');
  toolbar.setAttribute('aria-busy', `${Boolean(model.get('busy'))}`);
}

function onKey(review, event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  const { key } = event;
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[key];
  const name = byKey(review, key);
  if (!review.isOpen || !(step || name)) return;
  event.preventDefault();
  event.stopPropagation();
  if (step) review.choose(review.model.get('index') + step);
  else review.act(name);
}

const reviews = new WeakMap();

export default {
  render({ model, el }) {
    if (!reviews.has(model)) reviews.set(model, new Review(model));
    const review = reviews.get(model);
    const acts = model.get('buttons');
    const buttons = Object.fromEntries(acts.map((act) => [act.name, button(review, act)]));
    const keyOf = (name) => acts.find((act) => act.name === name).key;
    const tabs = element('span', { class: 'fim-tabs', role: 'radiogroup', 'aria-label': 'Candidates' });
    const status = element('span', { class: 'fim-status', role: 'status' });
    const toolbar = element(
      'div',
      {
        class: 'fim-toolbar',
        role: 'toolbar',
        'aria-label': `What to do with the answer: ${keyOf('accept')} accepts, ${keyOf('reject')} rejects`,
        tabindex: '0',
        'data-lm-suppress-shortcuts': 'true', // or JupyterLab would take the keys for its own
      },
      element('span', { class: 'fim-row' }, ...Object.values(buttons), tabs),
      status,
    );
    const parts = { toolbar, buttons, tabs, status };
    const redraw = () => draw(review, parts);
    toolbar.addEventListener('keydown', (event) => onKey(review, event));
    // A button that was clicked has the focus and would lose it when it is disabled; the keys need the toolbar.
    toolbar.addEventListener('click', () => review.isOpen && toolbar.focus({ preventScroll: true }));
    review.listeners.add(redraw);
    redraw();
    el.classList.add('fim-toolbar-place');
    el.append(toolbar);
    return () => review.listeners.delete(redraw);
  },
};
