// A fill at the cursor: what the kernel shows goes below the cell, which neither runs nor changes.

/** Ask for it, and follow it to its end. `say` shows the user a text, and `warn` one that ends it. */
export function fill(channel, place, { say, warn }) {
  const { notebook, cell } = place;
  let isShown = false;
  const id = channel.ask({ do: 'fill' }, place);
  const listener = (message) => {
    if (message.type === 'closed') return end();
    if (message.id !== id) return undefined;
    if (message.type === 'progress') return say(message.text);
    if (message.type === 'output') {
      if (!isShown) notebook.clear(cell.id);
      isShown = true;
      notebook.show(message.cell_id, message.output, message.update);
    } else if (message.type === 'none') {
      end();
      if (message.reason) warn(message.reason);
    } else if (message.type === 'done') {
      end();
      message.notices.forEach((notice) => warn(notice));
    }
    return undefined;
  };
  // What is shown may change after its end, when a button is clicked: that comes with the same id.
  const end = () => {
    say('');
    if (!isShown || !channel.isOpen) channel.listeners.delete(listener);
  };
  channel.listeners.add(listener);
  say('Filling in at the cursor…');
}
