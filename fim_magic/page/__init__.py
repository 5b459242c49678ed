"""What the labextension of JupyterLab and Notebook asks the kernel for: a fill at the cursor, and ghost text.

It asks over a comm, so that nothing has to run as a cell; `labextension/` is its end, `channel` the kernel's. Where
both have subshells (JupyterLab 4.4, ipykernel 7) it is answered while a cell computes.

A page sends `ghost` or `fill`, each with an `id` of its own, and later `seen` when ghost text is on the screen,
`cancel`, `taken`, `interrupt`, or `drop` for what the user has seen and not taken. It gets `state` at once; then `text`
while an answer grows and `done` at its end; `output` for what is shown below a cell; `progress` for what has to be
waited for; `none` where there is no answer, with the reason in words; `record` for the metadata of a cell that has
taken an answer.
"""

from fim_magic.page.comms import Comms

__all__ = ["Comms"]
