// A fill at the cursor: what the kernel shows goes below the cell, which neither runs nor changes.

const UNDER_WAY = 'A fill is under way, and shows nothing yet. Wait for it, or end it with the stop button, and ask again.';

const followed = new WeakMap(); // by cell: what hears of the fill that is shown below it

/**
 * Ask for it, and follow it to its end. `say` shows the user a text, `warn` one that ends it, and `note` one that is to be
 * known beside it.
 */
export function fill(channel, place, { say, warn, note }) {
  // The kernel refuses a second one where the first has its turn, which it has not while a model is loaded.
  if (channel.beginning) return warn(UNDER_WAY);
  const { notebook, cell } = place;
  let isShown = false;
  const id = channel.ask({ do: 'fill' }, place);
  channel.beginning = id;
  const listener = (message) => {
    if (message.type === 'closed' || notebook.isClosed) return end();
    if (message.id !== id) return undefined;
    if (message.type === 'progress') return say(message.text);
    if (message.type === 'output') {
      if (!isShown) {
        notebook.clear(cell.id);
        channel.listeners.delete(followed.get(cell)); // what it has followed is gone
        followed.set(cell, listener);
      }
      isShown = true;
      begun();
      notebook.show(message.cell_id, message.output, message.update);
    } else if (message.type === 'none') {
      end();
      if (message.reason) warn(message.reason);
    } else if (message.type === 'done') {
      end();
      message.notices.forEach((notice) => note(notice));
    }
    return undefined;
  };
  const begun = () => {
    if (channel.beginning === id) channel.beginning = null;
  };
  // What is shown may change after its end, when a button is clicked: that comes with the same id.
  const end = () => {
    say('');
    begun();
    if (!isShown || !channel.isOpen || notebook.isClosed) channel.listeners.delete(listener);
  };
  channel.listeners.add(listener);
  say('Filling in at the cursor…');
  return undefined;
}
