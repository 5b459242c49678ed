// The hidden bridge between the kernel and the notebook that shows it: an anywidget that is never displayed, as
// `initialize` runs when the kernel opens its comm.

const SWEEP_MS = 3000;
const LOST_MS = 250;

const VIEW = 'application/vnd.jupyter.widget-view+json';

/** Put what `replace` returns, if anything, in the place of each output. It is told the output, and the one before it. */
function replaceOutputs(model, replace) {
  if (where(model) === 'classic') return replaceClassicOutputs(replace);
  for (const cell of labDocuments(model).flatMap(({ context }) => [...context.model.cells])) {
    const outputs = cell.type === 'code' ? cell.outputs : null;
    for (let i = 0; i < (outputs?.length ?? 0); i++) {
      const output = replace(outputs.get(i), i > 0 ? outputs.get(i - 1) : null);
      if (output) outputs.set(i, output);
    }
  }
}

/** The same in nbclassic, which draws an output again if it knows it by a display id: it forgets them at a reload. */
function replaceClassicOutputs(replace) {
  for (const { output_area: area } of classicNotebook().get_cells()) {
    (area?.outputs ?? []).forEach((before, index, all) => {
      const after = before.data && replace(before, all[index - 1] ?? null);
      if (!after) return;
      const display_id = `fim-${index}`;
      area._display_id_targets[display_id] = [{ index, element: area.element.children('.output_area').eq(index) }];
      area.update_display_data({ ...after, transient: { display_id } });
    });
  }
}

/**
 * Put an output where the document has an older one of this name. Pages follow the kernel's own updates only in a cell
 * that they have run themselves, and only until it is moved.
 */
function show(model, { name, output }) {
  const differ = (one, other) => JSON.stringify(one) !== JSON.stringify(other);
  const isOlder = (before) =>
    before.metadata?.fim_magic_output === name &&
    (differ(before.data, output.data) || differ(before.metadata, output.metadata));
  replaceOutputs(model, (before) => (isOlder(before) ? output : null));
}

/**
 * Put a plain output where the document holds buttons of a kernel that is gone: they would be an error message. Those of
 * this kernel may still be on their way after a reload, so it waits a moment.
 */
function sweep(model, { data }) {
  const known = (id) => model.widget_manager.has_model?.(id) ?? true;
  const isStale = ({ data }) => data[VIEW] && !known(data[VIEW].model_id);
  const ours = (output) => output?.metadata?.fim_magic !== undefined;
  // It keeps its name: a kernel that was busy until now, and is not gone, can still put the buttons there.
  const plain = ({ metadata }) => ({ output_type: 'display_data', data, metadata });
  const sweepOne = (each, before) => (ours(before) && isStale(each) ? plain(each) : null);
  setTimeout(() => replaceOutputs(model, sweepOne), SWEEP_MS);
}

/**
 * Ask for the buttons that nbclassic has taken away. When it opens a notebook it asks the kernel for its widgets, and
 * draws the outputs again when it has the answer. That removes the widgets of a cell that was run meanwhile: of each
 * only an output without the widget's id is left.
 */
function askForLost(model, tries = SWEEP_MS / LOST_MS) {
  for (const cell of classicNotebook().get_cells()) {
    for (const { data, metadata } of cell.output_area?.outputs ?? []) {
      const name = metadata?.fim_magic_output;
      if (name && data?.[VIEW]?.model_id === '') model.send({ event: 'lost', name });
    }
  }
  if (tries > 0) setTimeout(() => askForLost(model, tries - 1), LOST_MS);
}

/** Put an Undo button beside the note that carries `anchor`. It is not in the document, so no saved notebook has it. */
function offerUndo(model, request, tries = 40) {
  const note = document.querySelector(`.fim-note.${CSS.escape(request.anchor)}`);
  if (!note) {
    if (tries > 0) setTimeout(() => offerUndo(model, request, tries - 1), 50);
    return;
  }
  if (note.querySelector('button')) return;
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'fim-undo jupyter-button widget-button';
  button.style.width = 'auto';
  button.textContent = 'Undo';
  button.addEventListener('click', () => {
    button.disabled = true; // the second of two clicks finds nothing to take back
    const how = takeBack(model, request.undo, request);
    if (how === 'undone') note.textContent = 'Taken back.'; // the kernel shows the buttons again, where it can
    model.send({ event: 'answer', token: request.token, how });
  });
  note.append(' ', button);
}

function insert(model, request) {
  try {
    return put(model, request);
  } catch (error) {
    return { how: 'error', message: String(error) };
  }
}

/** Remove cells that `put` has made, but those that the user has gone on with. */
function remove(model, request) {
  const cells = request.cells.map((undo) => takeBack(model, undo, request));
  model.send({ event: 'answer', token: request.token, how: 'removed', cells });
}

export default {
  initialize({ model }) {
    model.on('msg:custom', (request) => {
      if (request.do === 'show') return show(model, request);
      if (request.do === 'sweep') {
        if (where(model) === 'classic') askForLost(model);
        return request.data ? sweep(model, request) : undefined; // nothing to put in their place
      }
      // Every page on this kernel hears this. Only the one that was clicked acts, or there would be two cells.
      const clients = clientsOf(model);
      if (request.client && clients.length && !clients.includes(request.client)) return;
      if (request.do === 'undo') return offerUndo(model, request);
      if (request.do === 'remove') return remove(model, request);
      if (request.do === 'insert') model.send({ event: 'answer', token: request.token, ...insert(model, request) });
    });
    const languages = [document.documentElement.lang, navigator.language].filter(Boolean);
    let told = [];
    const tell = (event) => {
      const clients = clientsOf(model);
      if (event === 'clients' && clients.every((client) => told.includes(client))) return;
      told = clients;
      model.send({ event, where: where(model), languages, clients });
    };
    tell('hello');
    // A notebook that is opened later, for the same kernel, is a client of its own.
    const onNotebooks = () => tell('clients');
    document.addEventListener('fim-magic:notebooks-changed', onNotebooks);
    return () => document.removeEventListener('fim-magic:notebooks-changed', onNotebooks);
  },
};
