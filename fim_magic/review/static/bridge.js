// The hidden bridge between the kernel and the notebook that shows it.
//
// It is an anywidget that is never displayed: `initialize` runs when the kernel opens its comm. In JupyterLab and in
// Notebook 7 the widget manager knows the notebook's document; in nbclassic the page does. Where neither is so
// (VS Code, Colab), the bridge says "none", and the kernel finds another way.

/** The notebook's document in JupyterLab >= 4 and Notebook >= 7, or null. */
function labDocument(model) {
  const context = model.widget_manager?.context;
  return typeof context?.model?.sharedModel?.insertCell === 'function' ? context : null;
}

function classicNotebook() {
  const notebook = globalThis.Jupyter?.notebook;
  return typeof notebook?.insert_cell_at_index === 'function' ? notebook : null;
}

/** The id by which the kernel knows this page: the `session` in the header of its messages. */
function clientOf(model) {
  return model.widget_manager?.kernel?.clientId ?? classicNotebook()?.kernel?.session_id ?? null;
}

function where(model) {
  if (labDocument(model)) return 'lab';
  return classicNotebook() ? 'classic' : 'elsewhere';
}

/** The place on the page where the kernel's buttons are; they carry a class that nothing else has. */
function shown(marker) {
  return document.querySelector(`.${CSS.escape(marker)}`);
}

function insertInLab(context, request) {
  const notebook = context.model.sharedModel;
  const owner = notebook.cells.findIndex((cell) => cell.id === request.cell_id);
  if (owner < 0) return { how: 'not-mine' }; // the cell is gone, or it is in another notebook on the same kernel
  const panel = shown(request.marker)?.closest('.jp-Notebook');
  if (request.replace) {
    notebook.transact(() => notebook.cells[owner].setSource(request.text));
    focusCell(panel, owner);
    return { how: 'replaced' };
  }
  // Not trusted: it has no outputs yet, and running it makes it trusted. JupyterLab's own payloads do the same.
  const cell = { cell_type: 'code', source: request.text, metadata: { trusted: false } };
  notebook.transact(() => notebook.insertCell(owner + 1, cell));
  focusCell(panel, owner + 1);
  return { how: 'inserted' };
}

/** Give a cell's editor the focus, which also makes the cell active. The page draws a new cell a little later. */
function focusCell(panel, index, tries = 40) {
  const cell = panel?.querySelector(`.jp-Cell[data-windowed-list-index="${index}"]`);
  const editor = cell?.querySelector('.cm-content');
  if (editor) {
    cell.scrollIntoView({ block: 'nearest' });
    editor.focus();
  } else if (tries > 0) {
    setTimeout(() => focusCell(panel, index, tries - 1), 50);
  }
}

function insertInClassic(notebook, request) {
  const buttons = shown(request.marker);
  const owner = notebook.get_cells().findIndex((cell) => buttons && cell.element[0].contains(buttons));
  if (owner < 0) return { how: 'not-mine' };
  const index = request.replace ? owner : owner + 1;
  const cell = request.replace ? notebook.get_cell(owner) : notebook.insert_cell_at_index('code', index);
  cell.set_text(request.text);
  notebook.select(index);
  notebook.focus_cell();
  return { how: request.replace ? 'replaced' : 'inserted' };
}

function insert(model, request) {
  const context = labDocument(model);
  if (context) return insertInLab(context, request);
  const notebook = classicNotebook();
  return notebook ? insertInClassic(notebook, request) : { how: 'none' };
}

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

export default {
  initialize({ model }) {
    model.on('msg:custom', (request) => {
      if (request.do === 'settle') return settle(model, request);
      if (request.do !== 'insert') return;
      // Every page on this kernel hears this. Only the one that was clicked acts, or there would be two cells.
      const client = clientOf(model);
      if (request.client && client && request.client !== client) return;
      let answer;
      try {
        answer = insert(model, request);
      } catch (error) {
        answer = { how: 'error', message: String(error) };
      }
      model.send({ event: 'answer', token: request.token, ...answer });
    });
    model.send({ event: 'hello', where: where(model) });
  },
};
