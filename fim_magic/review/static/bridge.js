// The hidden bridge between the kernel and the notebook that shows it: an anywidget that is never displayed, as
// `initialize` runs when the kernel opens its comm.

const SWEEP_MS = 3000;

const VIEW = 'application/vnd.jupyter.widget-view+json';

/** Put a plain output in the place of each widget that `replaces` wants, told its id and the output before it. */
function replaceWidgets(model, data, replaces) {
  for (const cell of labDocument(model)?.model.cells ?? []) {
    const outputs = cell.type === 'code' ? cell.outputs : null;
    for (let i = 0; i < (outputs?.length ?? 0); i++) {
      const id = outputs.get(i).data[VIEW]?.model_id;
      if (!id || !replaces(id, i > 0 ? outputs.get(i - 1) : null)) continue;
      outputs.set(i, { output_type: 'display_data', data, metadata: {} });
    }
  }
}

/** Put a plain output where the document still holds the buttons. After a reload, the kernel cannot do that itself. */
function settle(model, request) {
  replaceWidgets(model, request.data, (id) => id === request.model_id);
}

/**
 * Put a plain output where the document holds buttons of a kernel that is gone: they would be an error message. Those of
 * this kernel may still be on their way after a reload, so it waits a moment.
 */
function sweep(model, request) {
  const known = (id) => model.widget_manager.has_model?.(id) ?? true;
  const ours = (output) => output?.metadata?.fim_magic !== undefined;
  setTimeout(() => replaceWidgets(model, request.data, (id, before) => ours(before) && !known(id)), SWEEP_MS);
}

/** Put an Undo button beside the note that carries `marker`. It is not in the document, so no saved notebook has it. */
function offerUndo(model, request, tries = 40) {
  const note = document.querySelector(`.fim-note.${CSS.escape(request.marker)}`);
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
    const how = takeBack(model, request.undo);
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

export default {
  initialize({ model }) {
    model.on('msg:custom', (request) => {
      if (request.do === 'settle') return settle(model, request);
      if (request.do === 'sweep') return sweep(model, request);
      // Every page on this kernel hears this. Only the one that was clicked acts, or there would be two cells.
      const client = clientOf(model);
      if (request.client && client && request.client !== client) return;
      if (request.do === 'undo') return offerUndo(model, request);
      if (request.do === 'insert') model.send({ event: 'answer', token: request.token, ...insert(model, request) });
    });
    model.send({ event: 'hello', where: where(model) });
  },
};
