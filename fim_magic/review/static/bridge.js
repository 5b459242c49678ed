// The hidden bridge between the kernel and the notebook that shows it: an anywidget that is never displayed, as
// `initialize` runs when the kernel opens its comm.

/** Put a plain output where the document still holds the buttons. After a reload, the kernel cannot do that itself. */
function settle(model, request) {
  for (const cell of labDocument(model)?.model.cells ?? []) {
    const outputs = cell.type === 'code' ? cell.outputs : null;
    for (let i = 0; i < (outputs?.length ?? 0); i++) {
      const view = outputs.get(i).data['application/vnd.jupyter.widget-view+json'];
      if (view?.model_id !== request.model_id) continue;
      outputs.set(i, { output_type: 'display_data', data: request.data, metadata: {} });
    }
  }
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
      // Every page on this kernel hears this. Only the one that was clicked acts, or there would be two cells.
      const client = clientOf(model);
      if (request.client && client && request.client !== client) return;
      if (request.do === 'undo') return offerUndo(model, request);
      if (request.do === 'insert') model.send({ event: 'answer', token: request.token, ...insert(model, request) });
    });
    model.send({ event: 'hello', where: where(model) });
  },
};
