// The way to the kernel: a comm, in a subshell where kernel and page have them, so that a kernel that computes answers.

const NOT_LOADED = 'fim-magic is not loaded in this kernel. Run a cell with: %load_ext fim_magic';
export const NO_COMMS =
  'JupyterLab lets one tab of a page talk to a kernel, and that one is closed or no notebook. Close all tabs of this ' +
  'kernel, and open this notebook again.';
export const BUSY = 'The kernel is busy, and this one answers nothing meanwhile. Ask again when it is idle.';

const TARGET = 'fim_magic';
const SUBSHELL_MS = 5000;
const MOMENT_MS = 1000; // that the user may be kept waiting without a word
const POLL_MS = 50;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** One kernel's. It is open once the kernel has told its state. */
class Channel {
  constructor(kernel, comm) {
    this.kernel = kernel;
    this.state = { ghost: 'off' };
    this.isOpen = true;
    this.listeners = new Set();
    this.comm = comm;
    this.sentCells = '';
    this.count = 0;
    this.beginning = null; // the id of a fill that shows nothing yet
    comm.onMsg = (message) => this.hear(message.content.data);
    comm.onClose = () => this.close();
  }

  /** Whether the kernel answers while a cell computes. */
  get isBeside() {
    return Boolean(this.comm.subshellId);
  }

  get isBusy() {
    return !this.isBeside && this.kernel.status === 'busy';
  }

  hear(message) {
    if (message.type === 'state') this.state = message;
    for (const listener of [...this.listeners]) listener(message);
  }

  /**
   * Ask for something about a cell, and return the id of the request.
   *
   * @param what `do`, and what belongs to it.
   * @param place The notebook and its cell, as `place` of `notebooks.js` has them.
   */
  ask(what, { cell, prefix, selected, suffix, notebook }) {
    const id = `${this.kernel.clientId}/${(this.count += 1)}`;
    const cells = notebook.cells();
    const all = JSON.stringify(cells.map((each) => (each.id === cell.id ? { ...each, source: '' } : each)));
    // Those that are as they were need not be sent at every key; the cell itself is in the message anyway.
    const changed = all === this.sentCells ? null : cells;
    this.sentCells = all;
    const about = { cell_id: cell.id, prefix, selected, suffix, metadata: notebook.metadata(), cells: changed };
    this.send({ ...what, id, ...about }, { cellId: cell.id });
    return id;
  }

  send(message, metadata = {}) {
    if (this.isOpen && !this.comm.isDisposed && !this.kernel.isDisposed) this.comm.send(message, metadata);
  }

  close() {
    if (!this.isOpen) return;
    this.isOpen = false;
    for (const listener of [...this.listeners]) listener({ type: 'closed' });
  }
}

/** Open a channel to a kernel, or return null where it has no fim-magic. A kernel without a subshell answers when idle. */
async function open(kernel) {
  const { content } = await kernel.requestCommInfo({ target_name: TARGET });
  if (content.status !== 'ok' || !Object.keys(content.comms).length) return null;
  await kernel.info;
  const comm = kernel.createComm(TARGET);
  if (kernel.supportsSubshells) await Promise.race([comm.subshellStarted, pause(SUBSHELL_MS)]).catch(() => {});
  const channel = new Channel(kernel, comm);
  const isReady = new Promise((resolve) => {
    const listener = (message) => {
      if (message.type !== 'state' && message.type !== 'closed') return;
      channel.listeners.delete(listener);
      resolve();
    };
    channel.listeners.add(listener);
  });
  comm.open({});
  await isReady;
  return channel.isOpen ? channel : null;
}

/** The channels of all kernels of a page. `kernels` returns the connections of its notebooks. */
export class Channels {
  constructor(kernels) {
    this.kernels = kernels;
    this.opening = new WeakMap();
    this.opened = new WeakMap();
  }

  /** Of several connections to a kernel, the one that has comms, which JupyterLab gives to the first; or null. */
  speaker(kernel) {
    if (kernel?.handleComms !== false) return kernel ?? null;
    return this.kernels().find((each) => each.id === kernel.id && each.handleComms && !each.isDisposed) ?? null;
  }

  /** Why there is no channel to a kernel, in words. */
  lack(kernel) {
    return kernel && !this.speaker(kernel) ? NO_COMMS : NOT_LOADED;
  }

  /** Whether there is no channel, and will be none before the kernel is idle: it is opened where cells run. */
  waits(connection) {
    const kernel = this.speaker(connection);
    if (!kernel || this.get(kernel) || this.opening.has(kernel)) return false;
    // Of a kernel that has computed since before the page was loaded, the page does not know what it does.
    return ['busy', 'unknown'].includes(kernel.status);
  }

  /**
   * The channel for what the user has just asked for, and its kernel; or what is lacking, in words. A kernel that computes
   * is waited for no longer than a moment: one that was, as for the cell before, is idle by then.
   *
   * @param connection Returns the notebook's, which a page that was just loaded has not yet.
   */
  async forUser(connection) {
    let left = MOMENT_MS / POLL_MS;
    const until = async (isSo) => {
      for (; !isSo() && left > 0; left -= 1) await pause(POLL_MS);
    };
    await until(() => connection() && !this.waits(connection()));
    const kernel = connection();
    if (this.waits(kernel)) return { lack: BUSY };
    const channel = await this.find(kernel);
    if (!channel) return { lack: this.lack(kernel) };
    await until(() => !channel.isBusy);
    return channel.isBusy ? { lack: BUSY } : { channel, kernel };
  }

  /** The channel that is there, or null. */
  get(kernel) {
    const channel = this.opened.get(this.speaker(kernel));
    return channel?.isOpen ? channel : null;
  }

  /** The channel, after it was opened if the kernel has fim-magic. */
  async find(connection) {
    const kernel = this.speaker(connection);
    if (!kernel || kernel.isDisposed) return null;
    if (this.get(kernel)) return this.get(kernel);
    if (!this.opening.has(kernel)) {
      const opening = open(kernel)
        .then((channel) => {
          if (!channel) return null;
          this.opened.set(kernel, channel);
          this.watch(channel);
          return channel;
        })
        .catch(() => null) // the kernel is gone
        .finally(() => opening === this.opening.get(kernel) && this.opening.delete(kernel));
      this.opening.set(kernel, opening);
    }
    return this.opening.get(kernel);
  }

  /** As `find`, where the kernel may have begun anew by another's hand: then it does not know the comm any more. */
  async findAgain(kernel) {
    const channel = this.get(kernel);
    if (channel) {
      const { content } = await kernel.requestCommInfo({ target_name: TARGET });
      if (content.status === 'ok' && !(channel.comm.commId in content.comms)) {
        channel.close();
        channel.comm.dispose(); // and with it what the page thinks of its subshell, which is gone as well
      }
    }
    return this.find(kernel);
  }

  /** A kernel that begins anew may never answer what it was asked before. */
  forget(connection) {
    this.opening.delete(this.speaker(connection));
  }

  /** A kernel that begins anew knows nothing of the comm. */
  watch(channel) {
    const { kernel } = channel;
    const onStatus = (_, status) => {
      if (!['restarting', 'autorestarting', 'dead'].includes(status)) return;
      kernel.statusChanged.disconnect(onStatus);
      channel.close();
    };
    kernel.statusChanged.connect(onStatus);
  }
}
