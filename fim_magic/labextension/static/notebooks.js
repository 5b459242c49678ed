// The notebooks of the page: which cell has the cursor, and what is shown below a cell.

const OUTPUT = 'fim_magic_output';
const OWN = new Set(['widgets', 'kernelspec', 'language_info']); // of the metadata, what may be large and says nothing

/** One notebook's panel. */
class Notebook {
  constructor(panel) {
    this.panel = panel;
  }

  get isClosed() {
    return this.panel.isDisposed;
  }

  get kernel() {
    return this.panel.sessionContext.session?.kernel ?? null;
  }

  cells() {
    const { cells } = this.panel.model.sharedModel;
    return cells.map((cell) => ({ type: cell.cell_type, source: cell.source, id: cell.id }));
  }

  metadata() {
    const { metadata } = this.panel.model.sharedModel;
    return Object.fromEntries(Object.entries(metadata ?? {}).filter(([key]) => !OWN.has(key)));
  }

  find(id) {
    return [...this.panel.model.cells].find((cell) => cell.id === id) ?? null;
  }

  setRecord(id, record) {
    this.find(id)?.sharedModel.setMetadata('fim_magic', record);
  }

  /** Take away what an earlier fill has shown below a cell. */
  clear(id) {
    const cell = this.find(id);
    if (cell?.type !== 'code') return;
    const kept = cell.outputs.toJSON().filter((output) => !output.metadata?.[OUTPUT]);
    if (kept.length !== cell.outputs.length) cell.outputs.fromJSON(kept);
  }

  /** Put an output below a cell, or in the place of the one of its name. */
  show(id, output, update) {
    const cell = this.find(id);
    if (cell?.type !== 'code') return;
    const { outputs } = cell;
    // Our output has buttons, which are shown in trusted cells only. One without outputs has nothing to be distrusted.
    if (!outputs.length && !cell.trusted) cell.trusted = true;
    for (let i = 0; i < outputs.length; i++) {
      if (outputs.get(i).metadata?.[OUTPUT] === output.metadata[OUTPUT]) {
        outputs.set(i, output);
        return;
      }
    }
    if (!update) outputs.add(output);
  }
}

/** Whether a place is in the cell that was asked about, and its notebook has the kernel that it had then. */
export function isSameCell(place, asked, kernel) {
  return place?.cell.id === asked.cell.id && place.notebook.kernel === kernel;
}

/** Where the cursor is: the notebook, its cell of code, and the text around what is selected; null elsewhere. */
export function place(panel) {
  const cell = panel?.content?.activeCell;
  if (cell?.model?.type !== 'code' || !cell.editor) return null;
  const { editor } = cell;
  const source = cell.model.sharedModel.source;
  const { start, end } = editor.getSelection();
  const [from, to] = [editor.getOffsetAt(start), editor.getOffsetAt(end)].sort((one, other) => one - other);
  return {
    notebook: new Notebook(panel),
    cell: cell.model,
    editor,
    prefix: source.slice(0, from),
    selected: source.slice(from, to),
    suffix: source.slice(to),
  };
}
