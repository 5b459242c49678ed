// The plugin: commands, the provider of ghost text, and what the page tells them.

const FILL = 'fim-magic:fill';
const PARTS = { 'fim-magic:accept-word': 'word', 'fim-magic:accept-line': 'line' };
const LABELS = { word: 'fim-magic: Accept the Next Word of Ghost Text', line: 'fim-magic: Accept the Next Line of Ghost Text' };
const INTERRUPTS = new Set(['notebook:interrupt-kernel', 'kernelmenu:interrupt']);
const MS_SAID = 8000;
const MOST_IN_A_NOTE = 140; // characters: of a longer one JupyterLab shows these, here and in its list of them

const ARGUMENTS = { args: { type: 'object', properties: {} } };

/** How long a note stays, and a button that shows all of a text that is too long for one. */
function noteOptions({ showErrorMessage }, text) {
  const showAll = { label: 'Show All', callback: () => showErrorMessage('fim-magic', text) };
  return { autoClose: MS_SAID, actions: text.length > MOST_IN_A_NOTE && showErrorMessage ? [showAll] : [] };
}

/** Say something in a note, which takes the place of the one before and goes by itself, or when there is nothing to say. */
function noteSpeaker(apputils) {
  const { Notification } = apputils;
  let id = null;
  return (text) => {
    const options = noteOptions(apputils, text);
    if (!text) {
      if (id) Notification?.dismiss(id);
      id = null;
    } else if (!id || !Notification.update({ id, message: text, type: 'info', ...options })) {
      id = Notification?.info(text, options);
    }
  };
}

/** Say something in the status bar; in a note where there is none, as in Notebook 7. */
function speaker({ statusBar, widgets, apputils }) {
  if (!statusBar || !widgets) return noteSpeaker(apputils);
  const item = new widgets.Widget();
  item.addClass('fim-magic-status');
  item.node.setAttribute('role', 'status');
  statusBar.registerStatusItem('fim-magic:status', { item, align: 'middle', isActive: () => Boolean(item.node.textContent) });
  let timer = null;
  return (text) => {
    clearTimeout(timer);
    item.node.textContent = text;
    item.node.title = text;
    timer = setTimeout(() => {
      item.node.textContent = '';
    }, MS_SAID);
  };
}

/** Say what ended a request that the user has made: whole, as its last line may be the one to type. */
function warner({ Notification, showErrorMessage }, say) {
  return (text) => {
    if (text.length > MOST_IN_A_NOTE && showErrorMessage) showErrorMessage('fim-magic', text);
    else if (Notification) Notification.warning(text, { autoClose: MS_SAID });
    else say(text);
  };
}

/** Say what is to be known beside what the user sees. */
function noter(apputils, say) {
  return (text) => {
    const { Notification } = apputils;
    if (Notification) Notification.warning(text, noteOptions(apputils, text));
    else say(text);
  };
}

/** Call `onMove` with whether it was by typing, whenever the text of the active cell or its cursor has changed. */
function watchCells(panel, onMove) {
  let cell = null;
  // A cell changes also when it runs, by its outputs and its number. The editor draws first.
  const onText = (_, change) => change.sourceChange && setTimeout(() => onMove(true));
  const onCursor = () => setTimeout(() => onMove(false));
  const follow = () => {
    if (cell && !cell.isDisposed) {
      cell.model?.sharedModel.changed.disconnect(onText);
      cell.editor?.model.selections.changed.disconnect(onCursor);
    }
    cell = panel.content.activeCell;
    cell?.model.sharedModel.changed.connect(onText);
    cell?.editor?.model.selections.changed.connect(onCursor);
    onMove(false);
  };
  panel.content.activeCellChanged.connect(follow);
  follow();
}

/** Look whether a kernel has fim-magic when it is new, when it has begun anew, and when a cell has run that names it. */
function watchKernels(panel, channels) {
  let kernel = null;
  let isNew = true;
  const look = () => {
    if (!isNew || !kernel || kernel.isDisposed || kernel.status !== 'idle') return;
    isNew = false;
    channels.find(kernel);
  };
  const onStatus = (_, status) => {
    if (['restarting', 'autorestarting', 'starting'].includes(status)) {
      isNew = true;
      channels.forget(kernel);
    }
    look();
  };
  const follow = () => {
    kernel?.statusChanged?.disconnect(onStatus);
    kernel = panel.sessionContext.session?.kernel ?? null;
    isNew = true;
    kernel?.statusChanged.connect(onStatus);
    document.dispatchEvent(new CustomEvent('fim-magic:notebooks-changed'));
    look();
  };
  panel.sessionContext.kernelChanged.connect(follow);
  panel.sessionContext.ready.then(follow);
}

export function plugin(packages, parts) {
  const { notebook, apputils, completer, completerVersion, statusbar, widgets, commands: lumino } = packages;
  const { INotebookTracker, NotebookActions } = notebook;
  const { ICommandPalette } = apputils;
  const optional = [ICommandPalette, completer?.ICompletionProviderManager, statusbar?.IStatusBar];

  function activate(app, tracker, palette, manager, statusBar) {
    const { commands } = app;
    const say = speaker({ statusBar, widgets, apputils });
    const warn = warner(apputils, say);
    const note = noter(apputils, say);
    const where = () => parts.place(tracker.currentWidget);
    const kernels = () => {
      const found = [];
      tracker.forEach(({ sessionContext }) => found.push(sessionContext.session?.kernel));
      return found.filter(Boolean);
    };
    const channels = new parts.Channels(kernels);
    // The buttons below a diff ask for the notebooks that may show them: theirs knows only of itself.
    document.addEventListener('fim-magic:notebooks', ({ detail }) =>
      tracker.forEach(({ sessionContext, context, node }) => {
        const { kernel } = sessionContext.session ?? {};
        if (kernel && kernel.id === detail.kernel) detail.found.push({ context, node, client: kernel.clientId });
      }),
    );
    // JupyterLab 4.0 has no inline completions.
    const canGhost = typeof manager?.registerInlineProvider === 'function';
    const isWithinLines = !/^4\.1\./.test(completerVersion); // 4.1 draws it at their ends only
    const given = { channels, manager, tracker, where, isWithinLines, say, warn, texts: parts };
    const ghost = canGhost ? new parts.GhostText(given) : null;
    if (ghost) manager.registerInlineProvider(ghost);

    commands.addCommand(FILL, {
      label: 'fim-magic: Fill at the Cursor',
      caption: 'Fill in what belongs at the cursor, or in the place of what is selected; the diff is shown below the cell',
      describedBy: ARGUMENTS,
      isEnabled: () => where() !== null,
      execute: async () => {
        const asked = where();
        const { channel, kernel, lack } = await channels.forUser(() => asked.notebook.kernel);
        if (!channel) return warn(lack);
        const place = where();
        if (!parts.isSameCell(place, asked, kernel)) return undefined; // the user has gone on to something else
        ghost?.drop();
        return parts.fill(channel, place, { say, warn, note });
      },
    });
    for (const [id, unit] of Object.entries(PARTS)) {
      commands.addCommand(id, {
        label: LABELS[unit],
        describedBy: ARGUMENTS,
        isEnabled: () => Boolean(ghost?.canTake),
        execute: () => ghost.takePart(unit),
      });
    }
    for (const command of [FILL, ...Object.keys(PARTS)]) palette?.addItem({ command, category: 'fim-magic' });

    // The editor would take these keys for its own before the page's shortcuts see them; JupyterLab does so with Tab.
    const onKey = (event) => {
      if (!(event.target instanceof Element) || !ghost?.canTake) return;
      const stroke = lumino.CommandRegistry.keystrokeForKeydownEvent(event);
      const isMeant = ({ command, keys, selector }) =>
        command in PARTS && keys.length === 1 && keys[0] === stroke && event.target.closest(selector);
      const binding = commands.keyBindings.find(isMeant);
      if (!binding) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      commands.execute(binding.command);
    };
    document.addEventListener('keydown', onKey, true);
    document.addEventListener('focusout', () => setTimeout(() => ghost?.left()));

    commands.commandExecuted.connect((_, { id }) => {
      // Whatever cell is active: a notebook's button stops all that its kernel does.
      const { kernel } = tracker.currentWidget?.sessionContext.session ?? {};
      if (INTERRUPTS.has(id)) channels.get(kernel)?.send({ do: 'interrupt' });
      else if (id === 'inline-completer:accept') ghost?.accepted();
      else if (id === 'inline-completer:next' || id === 'inline-completer:previous') ghost?.cycled();
    });
    NotebookActions.executed.connect((_, { cell, notebook: of }) => {
      const panel = tracker.find((each) => each.content === of);
      if (/fim/.test(cell.model?.sharedModel.source ?? '')) channels.findAgain(panel?.sessionContext.session?.kernel);
    });
    const follow = (panel) => {
      watchKernels(panel, channels);
      if (ghost) watchCells(panel, (isTyped) => panel === tracker.currentWidget && ghost.moved(isTyped));
    };
    tracker.forEach(follow);
    tracker.widgetAdded.connect((_, panel) => panel.context.ready.then(() => follow(panel)));
  }

  return {
    id: 'fim-magic:plugin',
    description: "A fill at the cursor, and ghost text, from the kernel's own code model.",
    autoStart: true,
    requires: [INotebookTracker],
    optional: optional.filter(Boolean),
    // What a page does not have is not among the arguments: they come in the order of those that it was asked for.
    activate: (app, tracker, ...found) => {
      const given = optional.map((token) => (token ? found.shift() : null));
      return activate(app, tracker, ...given);
    },
  };
}
