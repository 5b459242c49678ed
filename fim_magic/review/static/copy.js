// The Copy button. It is not a plain ipywidgets button because browsers let a page write to the clipboard only in the
// user's own click, and that one would hear of the click from the kernel.

/** For pages that are neither https nor on this machine: they have no `navigator.clipboard`. */
function copyBySelection(text) {
  const area = document.createElement('textarea');
  area.value = text;
  area.style.cssText = 'position: fixed; opacity: 0';
  document.body.appendChild(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  return copied;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

export default {
  render({ model, el }) {
    const button = document.createElement('button');
    button.className = 'jupyter-button widget-button';
    button.textContent = 'Copy';
    button.style.cssText = 'width: auto; margin: 2px'; // like the buttons beside it
    button.title = 'Copy the whole filled text';
    button.addEventListener('click', async () => {
      const copied = await copy(model.get('text'));
      button.textContent = copied ? 'Copied' : 'Copy failed';
      setTimeout(() => (button.textContent = 'Copy'), 1500);
      if (copied) model.send({ event: 'copied' });
    });
    el.appendChild(button);
  },
};
