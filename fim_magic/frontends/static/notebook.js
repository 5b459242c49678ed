// The notebook that shows a widget: how its cells are found, made, changed and taken back. The bridge and the toolbar
// each begin with this text, as a widget's module can import nothing.
//
// In JupyterLab >= 4 and in Notebook >= 7 the widget manager knows the notebook's document; in nbclassic the page does.
// Where neither is so (VS Code, Colab), the answer is "none", and the kernel finds another way.

/** The document of the notebook that brought the widget to the page, in JupyterLab >= 4 and Notebook >= 7, or null. */
function labDocument(model) {
  const context = model.widget_manager?.context;
  return typeof context?.model?.sharedModel?.insertCell === 'function' ? context : null;
}

/**
 * The documents of all notebooks of the page that may show the widget, each with where it is on the page. Those of one
 * kernel share the widgets of the one that was opened first; which others there are, the labextension knows.
 */
function labDocuments(model) {
  const own = labDocument(model);
  if (!own) return [];
  const detail = { kernel: model.widget_manager.kernel?.id, found: [] };
  document.dispatchEvent(new CustomEvent('fim-magic:notebooks', { detail }));
  return detail.found.length ? detail.found : [{ context: own, node: document }];
}

/**
 * The document that shows the kernel's buttons, or the note that has taken their place; before either is drawn, that of
 * the client which asked; or null.
 */
function labDocumentOf(model, { anchor, client }) {
  const found = labDocuments(model);
  const shows = anchor && found.find(({ node }) => node.querySelector(`.${CSS.escape(anchor)}`));
  return (shows || found.find((each) => each.client === client))?.context ?? labDocument(model);
}

function classicNotebook() {
  const notebook = globalThis.Jupyter?.notebook;
  return typeof notebook?.insert_cell_at_index === 'function' ? notebook : null;
}

/**
 * The ids by which the kernel knows this page: the `session` in the header of its messages. Each notebook of JupyterLab
 * has one of its own, also where they share the kernel and its widgets.
 */
function clientsOf(model) {
  const own = model.widget_manager?.kernel?.clientId ?? classicNotebook()?.kernel?.session_id;
  const all = [own, ...labDocuments(model).map(({ client }) => client)];
  return [...new Set(all.filter(Boolean))];
}

function where(model) {
  if (labDocument(model)) return 'lab';
  return classicNotebook() ? 'classic' : 'elsewhere';
}

/** The place on the page where the kernel's buttons are; they carry a class that nothing else has. */
function shown(anchor) {
  return document.querySelector(`.${CSS.escape(anchor)}`);
}

/**
 * Give a cell's editor the focus, which also makes the cell active. The page draws a new cell a little later, and the
 * output by which `panelOf` finds the notebook may be as new.
 */
function focusCell(panelOf, index, tries = 40) {
  const panel = panelOf();
  const cell = panel?.querySelector(`.jp-Cell[data-windowed-list-index="${index}"]`);
  const editor = cell?.querySelector('.cm-content');
  if (editor) {
    cell.scrollIntoView({ block: 'nearest' });
    editor.focus();
  } else if (tries > 0) {
    if (cell?.offsetHeight === 0) scrollTowards(panel, index);
    setTimeout(() => focusCell(panelOf, index, tries - 1), 50);
  }
}

/** JupyterLab's windowing mode "full" draws only the cells in sight: go to where this one should be, to have it drawn. */
function scrollTowards(panel, index) {
  const outer = panel.querySelector('.jp-WindowedPanel-outer');
  const cells = [...panel.querySelectorAll('.jp-Cell[data-windowed-list-index]')];
  const first = cells.find((cell) => cell.offsetHeight > 0);
  if (!outer || !first) return;
  const cellHeight = outer.scrollHeight / cells.length;
  outer.scrollTop += (index - Number(first.dataset.windowedListIndex)) * cellHeight;
}

/** What JupyterLab's and Notebook 7's documents can do. Positions are indices of cells, -1 where there is none. */
function labCells(context) {
  const notebook = context.model.sharedModel;
  const panelOf = (anchor) => shown(anchor)?.closest('.jp-Notebook');
  return {
    owner: (request) => notebook.cells.findIndex((cell) => cell.id === request.cell_id),
    find: (id) => notebook.cells.findIndex((cell) => cell.id === id),
    id: (index) => notebook.cells[index].id,
    text: (index) => notebook.cells[index].source,
    record: (index) => notebook.cells[index].getMetadata('fim_magic'),
    setText: (index, text, record) =>
      notebook.transact(() => {
        notebook.cells[index].setSource(text);
        if (record) notebook.cells[index].setMetadata('fim_magic', record);
        else notebook.cells[index].deleteMetadata('fim_magic');
      }),
    // Not trusted: it has no outputs yet, and running it makes it trusted. JupyterLab's own payloads do the same.
    insert: (index, text, record) =>
      notebook.transact(() => {
        const metadata = { trusted: false, ...(record && { fim_magic: record }) };
        notebook.insertCell(index, { cell_type: 'code', source: text, metadata });
      }),
    remove: (index) => notebook.transact(() => notebook.deleteCell(index)),
    focus: (index, anchor) => focusCell(() => panelOf(anchor), index),
  };
}

function classicCells(notebook) {
  const cell = (index) => notebook.get_cell(index);
  const set = (each, text, record) => {
    each.set_text(text);
    if (record) each.metadata.fim_magic = record;
    else delete each.metadata.fim_magic;
  };
  return {
    owner: (request) => {
      const buttons = shown(request.anchor);
      return notebook.get_cells().findIndex((each) => buttons && each.element[0].contains(buttons));
    },
    find: (id) => notebook.get_cells().findIndex((each) => each.cell_id === id),
    id: (index) => cell(index).cell_id,
    text: (index) => cell(index).get_text(),
    record: (index) => cell(index).metadata.fim_magic,
    setText: (index, text, record) => set(cell(index), text, record),
    insert: (index, text, record) => set(notebook.insert_cell_at_index('code', index), text, record),
    remove: (index) => notebook.delete_cells([index]),
    // The click that brought us here is on its way to the cell that asked, which takes it as a wish to be selected.
    focus: (index) =>
      setTimeout(() => {
        notebook.select(index);
        notebook.edit_mode();
      }),
  };
}

function cellsOf(model, asked) {
  const context = labDocumentOf(model, asked);
  if (context) return labCells(context);
  const notebook = classicNotebook();
  return notebook ? classicCells(notebook) : null;
}

/**
 * Put a text into the notebook.
 *
 * @param request `text`; `cell_id` and `anchor` of the cell that asked; `replace` to change that one instead of making
 *   another below it, only where its text is still `source` if that is given; `made`: what an earlier call has answered
 *   as `undo`, to change the cell that it has made; `quiet` to leave the focus where it is; `record` for the metadata of
 *   the cell.
 * @returns `how`: "inserted", "replaced", "edited" (the cell made before is not as we left it, or the one to change not
 *   as it was when it asked), "not-mine" (the cell is gone, or in another notebook on the same kernel, of which nothing is
 *   known here) or "none"; and `undo`, to be given to `takeBack`.
 */
function put(model, request) {
  const cells = cellsOf(model, request);
  if (!cells) return { how: 'none' };
  const { made, text, record } = request;
  if (made) {
    const at = cells.find(made.id);
    if (at < 0 || cells.text(at) !== made.text) return { how: 'edited' };
    cells.setText(at, text, record);
    return { how: made.how, undo: { ...made, text } };
  }
  const owner = cells.owner(request);
  if (owner < 0) return { how: 'not-mine' };
  // A cell that did not run may have been typed in since, and no answer has what was typed.
  const isEdited = request.source !== undefined && cells.text(owner) !== request.source;
  if (request.replace && isEdited) return { how: 'edited' };
  const at = request.replace ? owner : owner + 1;
  const how = request.replace ? 'replaced' : 'inserted';
  // What stands there may be a model's as well, and says so.
  const before = request.replace ? { text: cells.text(at), record: cells.record(at) } : null;
  if (request.replace) cells.setText(at, text, record);
  else cells.insert(at, text, record);
  if (!request.quiet) cells.focus(at, request.anchor);
  return { how, undo: { how, id: cells.id(at), text, before } };
}

/**
 * Take back what `put` has done for the cell that has the `anchor` of what is `asked`, or for its `client`, unless the
 * user has gone on with it: "undone", "edited", "gone" or "none".
 */
function takeBack(model, undo, asked) {
  const cells = cellsOf(model, asked);
  if (!cells) return 'none';
  const at = cells.find(undo.id);
  if (at < 0) return 'gone';
  if (cells.text(at) !== undo.text) return 'edited';
  if (undo.how === 'replaced') cells.setText(at, undo.before.text, undo.before.record);
  else cells.remove(at);
  return 'undone';
}
